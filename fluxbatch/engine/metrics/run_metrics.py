"""The metrics of one run: counted from its events, read off its status.

Owns their names and meanings. A label is never a row, a prompt or a key; at most a key's label.
Counters begin at zero with each process. Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fluxbatch._version import __version__
from fluxbatch.domain.job import JobState, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.engine.metrics.exposition import Histogram, MetricFamily, exposition
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.events import Event, OutputStored, PredictionMoved, RunEnded
from fluxbatch.infra.runtime import Clock

_BOUNDS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_P = PredictionState
_OUTCOMES = {
    _P.UNSENT: "unsent",
    _P.REFUSED: "refused",
    _P.UNKNOWN: "unknown",
    _P.ABSENT: "absent",
}
_ON_THE_WAY = frozenset({_P.SUBMITTING, _P.UNKNOWN, _P.RUNNING})


class RunMetrics:
    """What one process can say of its run; both listeners are called by the run."""

    def __init__(self, dataset: str, clock: Clock) -> None:
        self._dataset = dataset
        self._clock = clock
        self._creates = Counter[str]()
        self._bytes = 0
        self._durations = Histogram(_BOUNDS_S)
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
        return exposition(self._families(), {"dataset": self._dataset})

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
        if state in _ON_THE_WAY:
            self._live[event.prediction] = state, now
        else:
            self._live.pop(event.prediction, None)

    def _families(self) -> Iterator[MetricFamily]:
        yield MetricFamily(
            "fluxbatch_build_info", "gauge", "The version.", [("", {"version": __version__}, 1)]
        )
        yield MetricFamily(
            "fluxbatch_creates_total",
            "counter",
            "Creates of this process by outcome; an unknown one is found or absent later.",
            [("", {"outcome": name}, count) for name, count in sorted(self._creates.items())],
        )
        yield MetricFamily(
            "fluxbatch_download_bytes_total",
            "counter",
            "Bytes of the images stored by this process, as delivered.",
            [("", {}, self._bytes)],
        )
        yield MetricFamily(
            "fluxbatch_generation_duration_seconds",
            "histogram",
            "From a create's answer to its success as it was noticed.",
            list(self._durations.samples()),
        )
        if self._progress_at is not None:
            yield MetricFamily(
                "fluxbatch_last_progress_timestamp_seconds",
                "gauge",
                "When a prediction last changed its state or an image was stored.",
                [("", {}, self._progress_at)],
            )
        if self._exit_code is not None:
            yield MetricFamily(
                "fluxbatch_exit_code",
                "gauge",
                "The exit code of the run that has ended; absent while one goes on.",
                [("", {}, self._exit_code)],
            )
        if self._status is not None:
            yield from _of_status(self._status)


def _of_status(status: RunStatus) -> Iterator[MetricFamily]:
    jobs = status.jobs
    states = {state.value: jobs.of(state) for state in JobState} | {"invalid": jobs.invalid}
    yield MetricFamily(
        "fluxbatch_rows",
        "gauge",
        "The manifest's jobs by state, and its rows that name none (invalid).",
        [("", {"state": state}, count) for state, count in states.items()],
    )
    yield MetricFamily(
        "fluxbatch_unknown_rows",
        "gauge",
        "Jobs whose create has no clear answer.",
        [("", {}, jobs.in_doubt)],
    )
    lanes = status.lanes
    yield MetricFamily(
        "fluxbatch_inflight",
        "gauge",
        "Predictions created and not yet ended.",
        [("", {"account": lane.label}, lane.slots_held) for lane in lanes],
    )
    yield MetricFamily(
        "fluxbatch_inflight_limit",
        "gauge",
        "As many as there may be at once.",
        [("", {"account": lane.label}, lane.slots) for lane in lanes],
    )
    yield MetricFamily(
        "fluxbatch_cost_usd_total",
        "counter",
        "What the dataset has cost, estimates included.",
        [("", {}, _dollars(status.dataset.spent))],
    )
    yield MetricFamily(
        "fluxbatch_budget_usd",
        "gauge",
        "What counts against each cap now, and the cap.",
        [
            ("", {"scope": line.scope, "kind": kind}, _dollars(Micros(amount)))
            for line in status.budgets
            for kind, amount in (
                ("spent", line.settled + line.estimated),
                ("reserved", line.reserved),
                ("cap", line.cap),
            )
            if amount is not None
        ],
    )


def _dollars(amount: Micros) -> float:
    return amount / 1_000_000
