"""How long a run will still take, and how far that can be trusted.

Owns the pace: jobs ended over the last minutes. Knows nothing of why it is what it is, so
it says so: an estimate holds while the pace does.
"""

from __future__ import annotations

from collections import deque

from fluxbatch.cli.words import about, count
from fluxbatch.job import JobState
from fluxbatch.status import RunStatus

_SPAN_S = 180.0
_FEWEST_ENDED = 5
_UNSTEADY = 1.5


class Pace:
    """Hears every status; answers in words."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def hear(self, status: RunStatus) -> None:
        self._seen.append((status.elapsed_s, _ended(status)))
        # One sample older than the span stays, so that the span is always covered.
        while len(self._seen) > 2 and status.elapsed_s - self._seen[1][0] > _SPAN_S:
            self._seen.popleft()

    def left(self, status: RunStatus) -> str:
        """`about 3 min left`, or why nobody can say."""
        jobs_left = status.jobs.total - _ended(status) - status.jobs.unknown
        if jobs_left <= 0:
            return "looking for creates without an answer" if status.jobs.unknown else "done"
        beyond = _beyond_the_caps(status)
        if beyond and beyond >= jobs_left:
            return f"the budget is used up; {count(beyond, 'job')} will be left"
        then = f"; the budget leaves {count(beyond, 'job')} out" if beyond else ""
        return self._estimate(jobs_left - beyond) + then

    def _estimate(self, jobs_left: int) -> str:
        recent = self._per_second(0)
        latest = self._per_second(len(self._seen) // 2)
        if recent is None:
            return "too early to say how long"
        if latest is None:
            return "nothing has ended lately"
        slow, fast = sorted((jobs_left / recent, jobs_left / latest), reverse=True)
        if slow > _UNSTEADY * fast and about(slow) != about(fast):
            return f"{about(fast)} to {about(slow)} left; the pace is changing"
        return f"about {about((slow + fast) / 2)} left at this pace"

    def _per_second(self, since: int) -> float | None:
        """Jobs ended a second from a sample on; None where too few have."""
        if len(self._seen) < 2:
            return None
        (from_s, before), (to_s, now) = self._seen[since], self._seen[-1]
        fewest = _FEWEST_ENDED if since == 0 else 1
        if now - before < fewest or to_s <= from_s:
            return None
        return (now - before) / (to_s - from_s)


def _beyond_the_caps(status: RunStatus) -> int:
    """Waiting jobs that no cap has room for, at what the creates so far have cost."""
    totals = status.run
    if not totals.creates:
        return 0
    each = (totals.spent + totals.reserved) / totals.creates
    pending = status.jobs.of(JobState.PENDING)
    rooms = [line.cap - line.committed for line in status.budgets if line.cap is not None]
    if not rooms or each <= 0:
        return 0
    return max(0, pending - max(0, int(min(rooms) / each + 1e-9)))


def _ended(status: RunStatus) -> int:
    return status.jobs.of(JobState.DONE) + status.jobs.of(JobState.FAILED)
