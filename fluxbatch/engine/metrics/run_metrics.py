"""The metrics of one run: counted from its events, read off its status.

Owns what counts as what; `families` has the names. Counters begin at zero with each process.
Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fluxbatch.domain.job import PredictionState
from fluxbatch.engine.metrics.exposition import Histogram, MetricFamily, exposition
from fluxbatch.engine.metrics.families import (
    DOWNLOADED,
    DURATION_BOUNDS_S,
    DURATIONS,
    EXIT_CODE,
    LAST_PROGRESS,
    build_family,
    creates_family,
    job_families,
    lane_families,
    money_families,
)
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.events import Event, OutputStored, PredictionMoved, RunEnded
from fluxbatch.infra.runtime import Clock

_P = PredictionState
_OUTCOMES = {
    _P.UNSENT: "unsent",
    _P.REFUSED: "refused",
    _P.UNKNOWN: "unknown",
    _P.ABSENT: "absent",
}
_ON_THE_WAY = frozenset({_P.SUBMITTING, _P.UNKNOWN, _P.RUNNING})


def _unheard(_: float) -> None:
    """For nobody."""


class RunMetrics:
    """What one process can say of its run; both listeners are called by the run."""

    def __init__(self, dataset: str, clock: Clock) -> None:
        self._dataset = dataset
        self._clock = clock
        # All from the start, at zero: a rate sees the first of each.
        self._creates = dict.fromkeys(("accepted", "found", *sorted(_OUTCOMES.values())), 0)
        self.on_duration: Callable[[float], object] = _unheard
        """Called with each duration, seconds."""
        self._bytes = 0
        self._durations = Histogram(DURATION_BOUNDS_S)
        self._live: dict[int, tuple[PredictionState, float]] = {}
        """State and since when, monotonic, of those whose intent was seen here."""
        self._progress_at: float | None = None
        self._exit_code: int | None = None
        self._status: RunStatus | None = None

    def hear(self, event: Event, /) -> None:
        if isinstance(event, PredictionMoved):
            self._moved(event)
        elif isinstance(event, OutputStored):
            self._bytes += event.bytes
        elif isinstance(event, RunEnded):
            self._exit_code = event.exit_code
            return
        else:
            return
        self._progress_at = self._clock.now().utc.timestamp()

    def see(self, status: RunStatus, /) -> None:
        self._status = status

    def ended(self, exit_code: int) -> None:
        """For an end of which there is no event: an error."""
        self._exit_code = exit_code

    def text(self) -> str:
        """As it stands now, in Prometheus' text format."""
        return exposition(self.families(), {"dataset": self._dataset})

    def _moved(self, event: PredictionMoved) -> None:
        state, now = event.state, self._clock.monotonic()
        was, since = self._live.get(event.prediction, (None, now))
        if state is was:
            return
        if was is None and state is not _P.SUBMITTING:
            return  # of an earlier process: what it counted there, and since when, is not known
        if state is _P.RUNNING:
            self._creates["accepted" if was is _P.SUBMITTING else "found"] += 1
        elif state in _OUTCOMES:
            self._creates[_OUTCOMES[state]] += 1
        elif was is _P.RUNNING and state is _P.SUCCEEDED:
            self._durations.observe(now - since)
            self.on_duration(now - since)
        if state in _ON_THE_WAY:
            self._live[event.prediction] = state, now
        else:
            self._live.pop(event.prediction, None)

    def families(self) -> Iterator[MetricFamily]:
        """What there is to say now; also asked from other threads, so nothing here grows."""
        yield build_family()
        yield creates_family(self._creates)
        yield DOWNLOADED.of(self._bytes)
        yield DURATIONS.with_samples(self._durations.samples())
        if self._progress_at is not None:
            yield LAST_PROGRESS.of(self._progress_at)
        if self._exit_code is not None:
            yield EXIT_CODE.of(self._exit_code)
        if (status := self._status) is not None:
            yield from job_families(status.jobs)
            yield from lane_families(status.lanes)
            yield from money_families(status.dataset.spent, status.budgets)
