"""The metrics of one run: counted from its events, read off its status.

Owns what counts as what; `families` has the names. Counters begin at zero with each process.
Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from fluxbatch.domain.job import PredictionState
from fluxbatch.engine.metrics.exposition import Histogram, MetricFamily, exposition
from fluxbatch.engine.metrics.families import (
    BOUNDS_S,
    COMMIT_DURATIONS,
    DOWNLOADED,
    DURATIONS,
    EXIT_CODE,
    LAST_PROGRESS,
    RATE_WAITS,
    REQUEST_DURATIONS,
    REQUESTS,
    WEBHOOKS,
    build_family,
    creates_family,
    job_families,
    lane_families,
    money_families,
)
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.events import (
    CommitMeasured,
    Event,
    Measurement,
    OutputStored,
    PermitMeasured,
    PredictionMoved,
    RequestMeasured,
    RunEnded,
    WebhookMeasured,
    WebhookResult,
)
from fluxbatch.infra.runtime import Clock

_P = PredictionState
_OUTCOMES = {
    _P.UNSENT: "unsent",
    _P.REFUSED: "refused",
    _P.UNKNOWN: "unknown",
    _P.ABSENT: "absent",
}
_ON_THE_WAY = frozenset({_P.SUBMITTING, _P.UNKNOWN, _P.RUNNING})


OnObserved = Callable[[MetricFamily, float, Mapping[str, str]], object]


def _unheard(_family: MetricFamily, _value: float, _labels: Mapping[str, str]) -> None:
    """For nobody."""


class RunMetrics:
    """What one process can say of its run; both listeners are called by the run."""

    def __init__(self, dataset: str, clock: Clock) -> None:
        self._dataset = dataset
        self._clock = clock
        # All from the start, at zero: a rate sees the first of each.
        self._creates = dict.fromkeys(("accepted", "found", *sorted(_OUTCOMES.values())), 0)
        self.on_observed: OnObserved = _unheard
        """Called with each value of a histogram, and its labels."""
        self._bytes = 0
        self._histograms = {
            (family, ""): Histogram(BOUNDS_S[family])
            for family in (DURATIONS, RATE_WAITS, COMMIT_DURATIONS)
        }
        """Each with its route, where it has one."""
        self._requests: dict[tuple[str, str], int] = {}
        self._webhooks: dict[str, int] = dict.fromkeys(get_args(WebhookResult), 0)
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

    def measure(self, measurement: Measurement, /) -> None:
        match measurement:
            case RequestMeasured(route, code, seconds):
                self._requests[route, code] = self._requests.get((route, code), 0) + 1
                self._observe(REQUEST_DURATIONS, seconds, route)
            case PermitMeasured(seconds):
                self._observe(RATE_WAITS, seconds)
            case CommitMeasured(seconds):
                self._observe(COMMIT_DURATIONS, seconds)
            case WebhookMeasured(result):
                self._webhooks[result] += 1

    def _observe(self, family: MetricFamily, seconds: float, route: str = "") -> None:
        histogram = self._histograms.get((family, route))
        if histogram is None:
            histogram = Histogram(BOUNDS_S[family])
            # A copy: other threads may be going through it.
            self._histograms = {**self._histograms, (family, route): histogram}
        histogram.observe(seconds)
        self.on_observed(family, seconds, {"route": route} if route else {})

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
            self._observe(DURATIONS, now - since)
        if state in _ON_THE_WAY:
            self._live[event.prediction] = state, now
        else:
            self._live.pop(event.prediction, None)

    def families(self) -> Iterator[MetricFamily]:
        """What there is to say now; also asked from other threads, so nothing here grows."""
        yield build_family()
        yield creates_family(self._creates)
        yield DOWNLOADED.of(self._bytes)
        yield REQUESTS.with_samples(
            ("", {"route": route, "code": code}, n)
            for (route, code), n in sorted(self._requests.copy().items())
        )
        yield WEBHOOKS.with_samples(("", {"result": name}, n) for name, n in self._webhooks.items())
        yield from self._histogram_families()
        if self._progress_at is not None:
            yield LAST_PROGRESS.of(self._progress_at)
        if self._exit_code is not None:
            yield EXIT_CODE.of(self._exit_code)
        if (status := self._status) is not None:
            yield from job_families(status.jobs)
            yield from lane_families(status.lanes)
            yield from money_families(status.dataset.spent, status.budgets)

    def _histogram_families(self) -> Iterator[MetricFamily]:
        histograms = self._histograms
        for family in BOUNDS_S:
            yield family.with_samples(
                sample
                for (its, route), histogram in histograms.items()
                if its is family
                for sample in histogram.samples(**({"route": route} if route else {}))
            )
