"""The estimate of a run's remaining time, with its uncertainty.

Owns the pace: jobs ended over the last minutes, and the creates the limits still allow. An
estimate is a range as wide as its doubt, and says what the doubt is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from fluxbatch.cli.render.text import about_between, count
from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus

_SPAN_S = 180.0
_FEWEST_ENDED = 5
_FEW_ENDED = 20
_UNSTEADY = 1.5
_BINDING = 0.9
_SPREAD = 0.5
"""Of the square root of what was counted: executions of one kind end more evenly than by chance."""


class Eta:
    """Receives every status; answers in words."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, status: RunStatus) -> None:
        self._seen.append((status.elapsed_s, _ended(status)))
        # One sample older than the span stays, so that the span is always covered.
        while len(self._seen) > 2 and status.elapsed_s - self._seen[1][0] > _SPAN_S:
            self._seen.popleft()

    def remaining(self, status: RunStatus) -> str:
        """`about 4 to 6 min left (steady pace)`, or why nobody can say."""
        jobs_left = status.jobs.total - _ended(status) - status.jobs.in_doubt
        if jobs_left <= 0:
            return "looking for creates without an answer" if status.jobs.in_doubt else "done"
        if status.is_paused and status.waits and status.jobs.of(JobState.PENDING):
            return status.waits
        beyond = _beyond_the_caps(status)
        if beyond and beyond >= jobs_left:
            return f"the budget is used up; {count(beyond, 'job')} will be left"
        then = f"; the budget leaves {count(beyond, 'job')} out" if beyond else ""
        return self._estimate(status, jobs_left - beyond, beyond) + then

    def _estimate(self, status: RunStatus, jobs_left: int, beyond: int) -> str:
        recent = self._per_second(0)
        latest = self._per_second(len(self._seen) // 2)
        if recent is None:
            return status.waits or "too early to say how long"
        if latest is None:
            return _standing_words(status)
        ended = self._seen[-1][1] - self._seen[0][1]
        doubt = _SPREAD / math.sqrt(ended)
        fast, slow = sorted((jobs_left / recent, jobs_left / latest))
        least, most = fast * (1 - doubt), slow * (1 + doubt)
        limit = _creates_take_s(status.lanes, status.jobs.of(JobState.PENDING) - beyond)
        if limit >= _BINDING * slow:
            why = "the limit on creates sets the pace"
        elif slow > _UNSTEADY * fast:
            why = "the pace is changing"
        else:
            why = "a first guess" if ended < _FEW_ENDED else "steady pace"
        least, most = max(least, limit), max(most, limit * (1 + doubt))
        return f"about {about_between(least, most)} left ({why})"

    def _per_second(self, since: int) -> float | None:
        """Jobs ended a second from a sample on; None where too few have."""
        if len(self._seen) < 2:
            return None
        (from_s, before), (to_s, now) = self._seen[since], self._seen[-1]
        fewest = _FEWEST_ENDED if since == 0 else 1
        if now - before < fewest or to_s <= from_s:
            return None
        return (now - before) / (to_s - from_s)


def _creates_take_s(lanes: Sequence[LaneStatus], pending: int) -> float:
    """The seconds that so many creates take at least, whatever the pace: the windows are full."""
    usable = [lane for lane in lanes if lane.health != "out" and lane.creates]
    a_second = sum(lane.creates / lane.window_s for lane in usable)
    at_once = sum(lane.creates - lane.creates_in_window for lane in usable)
    return max(0, pending - max(0, at_once)) / a_second if a_second else 0.0


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


def _standing_words(status: RunStatus) -> str:
    """Nothing has ended lately: what everything waits for."""
    running = status.jobs.of(JobState.ACTIVE) - status.jobs.in_doubt
    if status.waits:
        return status.waits
    if running:
        return f"{count(running, 'prediction')} under way, none has ended lately"
    if status.jobs.of(JobState.GENERATED):
        return f"{count(status.jobs.of(JobState.GENERATED), 'job')} to be fetched"
    if status.jobs.in_doubt:
        return f"looking for {count(status.jobs.in_doubt, 'create')} without an answer"
    return f"{count(status.jobs.of(JobState.PENDING), 'job')} wait for their next try"


def _ended(status: RunStatus) -> int:
    return status.jobs.of(JobState.DONE) + status.jobs.of(JobState.FAILED)
