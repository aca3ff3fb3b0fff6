"""Async methods called by code without an event loop, or inside a running one (a notebook).

Owns the thread and the loop of their own that such a call has, and how a method gets a twin that
waits: same name, same arguments, same answer. Ctrl-C cancels the call and comes out of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from anyio.from_thread import start_blocking_portal

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Owner = TypeVar("_Owner")
_Owner_co = TypeVar("_Owner_co", covariant=True)


def in_own_loop(call: Callable[[], Awaitable[_T]]) -> _T:
    """What *call* answers, from a loop in a thread of its own; blocks until it has."""
    with start_blocking_portal("asyncio", name="fluxbatch") as portal:
        return portal.call(call)


class SyncTwin(Generic[_Owner_co]):
    """Something whose async methods are called as plain ones."""

    def __init__(self, owner: _Owner_co) -> None:
        self._owner = owner


def twin(
    method: Callable[Concatenate[_Owner, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[SyncTwin[_Owner], _P], _T]:
    """*method* for a `SyncTwin` of its owner."""

    @wraps(method)
    def call(self: SyncTwin[_Owner], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return in_own_loop(partial(method, self._owner, *args, **kwargs))

    return call
