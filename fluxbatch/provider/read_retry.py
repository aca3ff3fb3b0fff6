"""The retry policy of reads: bounded, jittered, obeying `Retry-After`.

The one place of the client where requests repeat. Creates never come here.
Source: docs/design/protocol.md 6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import anyio

from fluxbatch.errors import BalanceTooLow, KeyRefused, TransientApiError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The bounds of one read's retries."""

    tries: int = 4
    first_s: float = 0.5
    most_s: float = 8.0
    told_s: float = 60.0
    """The longest `Retry-After` that is waited for here; a longer one is the caller's to wait."""

    def pause_s(self, tries_made: int, error: TransientApiError, random: Random) -> float | None:
        """Seconds until the next try; None when there is none."""
        if tries_made >= self.tries or isinstance(error, KeyRefused | BalanceTooLow):
            return None
        ceiling = min(self.most_s, self.first_s * 2.0 ** (tries_made - 1))
        jittered = ceiling * (0.5 + random.random() / 2)
        if error.retry_after_s is None:
            return jittered
        # Never earlier than asked; the jitter separates clients that were given the same time.
        return None if error.retry_after_s > self.told_s else error.retry_after_s + jittered


async def retry(call: Callable[[], Awaitable[_T]], patience: RetryPolicy, random: Random) -> _T:
    """The result of *call*, tried again after each `TransientApiError` as *patience* allows."""
    tries_made = 0
    while True:
        try:
            return await call()
        except TransientApiError as exc:
            tries_made += 1
            pause_s = patience.pause_s(tries_made, exc, random)
            if pause_s is None:
                raise
        await anyio.sleep(pause_s)
