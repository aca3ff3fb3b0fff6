"""Calls side by side, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

_T = TypeVar("_T")
_AT_ONCE = 8


async def for_each(
    items: Iterable[_T], call: Callable[[_T], Awaitable[None]], *, at_once: int = _AT_ONCE
) -> None:
    """*call* for every item, some of them side by side."""
    todo = iter(items)

    async def serve() -> None:
        for item in todo:
            await call(item)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(serve)
