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
    """One account's creates of the last window that count, and its unfinished predictions."""

    unfinished: int = 0
    _counted: deque[float] = field(default_factory=deque)

    def refusal(self, now: float, limits: ServedLimits, window_s: float) -> Refusal | None:
        """Why a create arriving *now* is refused."""
        while self._counted and self._counted[0] <= now - window_s:
            self._counted.popleft()
        refusal = self._reason(now, limits, window_s)
        if refusal is not None and limits.counts == "attempted":
            self._counted.append(now)
        return refusal

    def _reason(self, now: float, limits: ServedLimits, window_s: float) -> Refusal | None:
        if limits.creates and len(self._counted) >= limits.creates:
            return Refusal("rate", self._counted[-limits.creates] + window_s - now)
        if limits.concurrent and self.unfinished >= limits.concurrent:
            return Refusal("concurrency", 1.0)
        return None

    def accept(self, now: float) -> None:
        self._counted.append(now)
        self.unfinished += 1

    def end(self) -> None:
        self.unfinished -= 1


@dataclass(slots=True)
class Witness:
    """What one account was seen to do, over all history.

    A window is half open: creates at 0 and at exactly `window_s` are never in one.
    """

    worst_window: int = 0
    worst_attempts: int = 0
    """Creates of any fate in one window."""
    later_attempts: int = 0
    """The same, of windows that began a window after the first of them."""
    worst_concurrency: int = 0
    alive: int = 0
    _slot_seconds: float = 0.0
    _changed_at: float = 0.0
    _arrivals: deque[float] = field(default_factory=deque)
    _attempts: deque[float] = field(default_factory=deque)
    _first_attempt: float | None = None

    def attempted(self, now: float, window_s: float) -> None:
        if self._first_attempt is None:
            self._first_attempt = now
        self._attempts.append(now)
        while self._attempts[0] <= now - window_s:
            self._attempts.popleft()
        self.worst_attempts = max(self.worst_attempts, len(self._attempts))
        if now - self._first_attempt >= 2 * window_s:
            self.later_attempts = max(self.later_attempts, len(self._attempts))

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
