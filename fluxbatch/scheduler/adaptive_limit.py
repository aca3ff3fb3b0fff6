"""The adaptive share of a limit that a lane uses, cut after each 429.

Owns one number that is cut by a share at a refusal and grows back slowly, so that a key
that other programs use as well still finishes and takes its room again when they leave.
Pure: time is passed in, monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

_CUT = 0.7


@dataclass(slots=True)
class AdaptiveLimit:
    """Starts at the whole `limit`."""

    limit: int
    regained_in_s: float
    """From nothing to the whole limit."""
    _after_cut: float = 0.0
    _cut_at: float | None = None

    def allowed(self, now: float) -> int:
        """How many at this moment, at least one."""
        if self._cut_at is None:
            return self.limit
        grown = self._after_cut + (now - self._cut_at) * self._regained_per_s
        if grown >= self.limit:
            self._cut_at = None
            return self.limit
        return max(int(grown), 1)

    def decrease(self, now: float, settle_s: float) -> bool:
        """The provider refused; whether that made a difference.

        Refusals within *settle_s* of a cut were under way before it and cut nothing more.
        """
        if self._cut_at is not None and now - self._cut_at < settle_s:
            return False
        before = self.allowed(now)
        self._after_cut, self._cut_at = max(before * _CUT, 1.0), now
        return self.allowed(now) < before

    def wait_s(self, now: float) -> float | None:
        """Seconds until one more is allowed; None where all of them are."""
        allowed = self.allowed(now)
        if self._cut_at is None:
            return None
        grown = self._after_cut + (now - self._cut_at) * self._regained_per_s
        return max((allowed + 1 - grown) / self._regained_per_s, 0.001)

    @property
    def _regained_per_s(self) -> float:
        return self.limit / self.regained_in_s
