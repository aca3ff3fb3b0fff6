"""The limits as the server counts them, and a witness of how far they were used.

`Allowance` enforces; `Witness` only watches accepted creates and ends, with arithmetic of
its own, so that a bug in the enforcement shows instead of hiding itself. Both take the
time as an argument and know nothing of requests.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from fluxbatch.emulator.settings import ServedLimits


@dataclass(frozen=True, slots=True)
class Refusal:
    """A create that came too early."""

    limit: Literal["rate", "concurrency"]
    retry_after_s: float


@dataclass(slots=True)
class Allowance:
    """One account's accepted creates of the last window and its unfinished predictions."""

    unfinished: int = 0
    _accepted: deque[float] = field(default_factory=deque)

    def refusal(self, now: float, limits: ServedLimits, window_s: float) -> Refusal | None:
        """Why a create arriving *now* is refused; refused ones are not counted."""
        while self._accepted and self._accepted[0] <= now - window_s:
            self._accepted.popleft()
        if limits.creates and len(self._accepted) >= limits.creates:
            return Refusal("rate", self._accepted[-limits.creates] + window_s - now)
        if limits.concurrent and self.unfinished >= limits.concurrent:
            return Refusal("concurrency", 1.0)
        return None

    def accept(self, now: float) -> None:
        self._accepted.append(now)
        self.unfinished += 1

    def end(self) -> None:
        self.unfinished -= 1


@dataclass(slots=True)
class Witness:
    """What one account was seen to do, over all history.

    A window is half open: creates at 0 and at exactly `window_s` are never in one.
    """

    worst_window: int = 0
    worst_concurrency: int = 0
    alive: int = 0
    _slot_seconds: float = 0.0
    _changed_at: float = 0.0
    _arrivals: deque[float] = field(default_factory=deque)

    def arrived(self, now: float, window_s: float) -> None:
        self._arrivals.append(now)
        while self._arrivals[0] <= now - window_s:
            self._arrivals.popleft()
        self.worst_window = max(self.worst_window, len(self._arrivals))
        self._tick(now)
        self.alive += 1
        self.worst_concurrency = max(self.worst_concurrency, self.alive)

    def ended(self, now: float) -> None:
        self._tick(now)
        self.alive -= 1

    def slot_seconds(self, now: float) -> float:
        """The integral of unfinished predictions over time, up to *now*."""
        return self._slot_seconds + self.alive * (now - self._changed_at)

    def _tick(self, now: float) -> None:
        self._slot_seconds += self.alive * (now - self._changed_at)
        self._changed_at = now
