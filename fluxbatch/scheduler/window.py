"""The strict sliding window of creates.

Owns how many creates the provider may still be counting: one account's creates of the last
window, as plain state with time passed in.
Knows nothing of HTTP, jobs or tasks: a limiter that can see a request starts making
exceptions. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from heapq import merge

_UNSURE_PART = 1 / 30
"""Of the window: 2 s of a minute. An answer comes later than the provider counts from."""


@dataclass(slots=True)
class CreateWindow:
    """The creates of one account that the provider may still be counting.

    Invariant: the provider sees at most `limit` creates in any `window_s`, wherever between
    leaving and `answer` each arrived. An old create counts from its answer, a new one from
    when it leaves. One that was refused counts as well, until the provider has shown that it does
    not count those. Times are monotonic seconds.
    """

    limit: int
    window_s: float
    unanswered: int = 0
    _answered: list[float] = field(default_factory=list)
    """Sorted; a create that was given up counts from a moment still to come."""
    counts_refused: bool = True
    _refused: list[float] = field(default_factory=list)
    """Sorted."""

    def wait_s(self, now: float) -> float | None:
        """Seconds until a create may leave: 0 now, None until an answer comes."""
        self._forget(now)
        free = self.limit - self.unanswered - len(self._answered) - len(self._refused)
        if free > 0:
            return 0.0
        # Leaving takes one that is answered to expire for each place that is overdrawn.
        place = -free
        if place >= len(self._answered) + len(self._refused):
            return None
        counted = list(merge(self._answered, self._refused)) if self._refused else self._answered
        return counted[place] + self.window_s - now

    def leave(self) -> None:
        """Take an entry, before the create leaves."""
        self.unanswered += 1

    def withdraw(self) -> None:
        """The create never left, or the provider does not count it (402)."""
        self.unanswered -= 1

    def refuse(self, now: float, again_in_s: float | None) -> None:
        """The create was refused (429). Where the provider named the time after which another may
        come, it counts until then."""
        self.unanswered -= 1
        if self.counts_refused:
            counts_from = now if again_in_s is None else now + again_in_s - self.window_s
            insort(self._refused, min(counts_from, now))

    def accepted(self, now: float, limit: int) -> None:
        """The provider took one more; *limit* is its own. With so many counted before, it does not
        count those it refused."""
        # Not what is about to leave the window: at the provider it may have left it already.
        since = now - self.window_s * (1 - _UNSURE_PART)
        if self._refused and sum(at > since for at in (*self._answered, *self._refused)) >= limit:
            self.counts_refused = False
            self._refused.clear()

    def answer(self, at: float) -> None:
        """The create was answered at *at*; for one given up, `reconcile.lag` after that."""
        self.unanswered -= 1
        insort(self._answered, at)

    def remember(self, at: float) -> None:
        """A create of an earlier process, answered at *at*."""
        insort(self._answered, at)

    def in_use(self, now: float) -> int:
        """Creates that count now."""
        self._forget(now)
        return self.unanswered + len(self._answered) + len(self._refused)

    def _forget(self, now: float) -> None:
        for times in (self._answered, self._refused):
            kept = 0
            while kept < len(times) and times[kept] <= now - self.window_s:
                kept += 1
            del times[:kept]
