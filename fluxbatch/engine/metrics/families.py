"""The metrics by name: what each is called, its kind, and what it means.

Owns the names, and how values become samples; knows nothing of where values come from. A label is
never a row, a prompt or a key; at most a key's label. Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fluxbatch._version import __version__
from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import Balance, Micros
from fluxbatch.engine.metrics.exposition import MetricFamily
from fluxbatch.ledger.queries.totals import JobCounts

BUILD_INFO = MetricFamily("fluxbatch_build_info", "gauge", "The version.")
CREATES = MetricFamily(
    "fluxbatch_creates_total",
    "counter",
    "Creates by outcome; an unknown one is found or absent later.",
)
DOWNLOADED = MetricFamily(
    "fluxbatch_download_bytes_total",
    "counter",
    "Bytes of the images stored by this process, as delivered.",
)
DURATIONS = MetricFamily(
    "fluxbatch_generation_duration_seconds",
    "histogram",
    "From a create's answer to its success as it was noticed.",
)
LAST_PROGRESS = MetricFamily(
    "fluxbatch_last_progress_timestamp_seconds",
    "gauge",
    "When a prediction last changed its state or an image was stored.",
)
EXIT_CODE = MetricFamily(
    "fluxbatch_exit_code",
    "gauge",
    "The exit code of the run that has ended; absent while one goes on.",
)
ROW_STATES = MetricFamily(
    "fluxbatch_rows",
    "gauge",
    "The manifest's jobs by state, and its rows that name none (invalid).",
)
UNKNOWN_ROWS = MetricFamily(
    "fluxbatch_unknown_rows", "gauge", "Jobs whose create has no clear answer."
)
INFLIGHT = MetricFamily("fluxbatch_inflight", "gauge", "Predictions created and not yet ended.")
INFLIGHT_LIMIT = MetricFamily(
    "fluxbatch_inflight_limit", "gauge", "As many as there may be at once."
)
COST_USD = MetricFamily(
    "fluxbatch_cost_usd_total", "counter", "What the dataset has cost, estimates included."
)
BUDGET_USD = MetricFamily(
    "fluxbatch_budget_usd", "gauge", "What counts against each cap now, and the cap."
)
REQUESTS = MetricFamily(
    "fluxbatch_http_requests_total",
    "counter",
    "Requests to the provider by route and status; none: no answer, unsent: it did not leave.",
)
REQUEST_DURATIONS = MetricFamily(
    "fluxbatch_http_request_duration_seconds",
    "histogram",
    "From a request to its whole answer, or to giving it up.",
)
RATE_WAITS = MetricFamily(
    "fluxbatch_rate_wait_seconds",
    "histogram",
    "How long jobs that were ready waited for a slot and for room in the window.",
)
WEBHOOKS = MetricFamily(
    "fluxbatch_webhook_deliveries_total",
    "counter",
    "Calls at the address of webhooks; refused: not one of ours.",
)
COMMIT_DURATIONS = MetricFamily(
    "fluxbatch_ledger_commit_duration_seconds",
    "histogram",
    "How long a group of changes took to be durable.",
)
ALL_METRICS = (
    BUILD_INFO, CREATES, DOWNLOADED, DURATIONS, LAST_PROGRESS, EXIT_CODE, ROW_STATES, UNKNOWN_ROWS,
    INFLIGHT, INFLIGHT_LIMIT, COST_USD, BUDGET_USD, REQUESTS, REQUEST_DURATIONS, RATE_WAITS,
    WEBHOOKS, COMMIT_DURATIONS,
)  # fmt: skip
_LONG_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BOUNDS_S = {
    DURATIONS: _LONG_S,
    REQUEST_DURATIONS: _SHORT_S,
    RATE_WAITS: (*_SHORT_S, 60.0, 300.0),
    COMMIT_DURATIONS: _SHORT_S,
}
"""Of each histogram."""


def build_family() -> MetricFamily:
    return BUILD_INFO.of(1, version=__version__)


def creates_family(by_outcome: Mapping[str, int]) -> MetricFamily:
    return CREATES.with_samples(("", {"outcome": name}, n) for name, n in by_outcome.items())


def job_families(jobs: JobCounts) -> Iterator[MetricFamily]:
    """Every state is there, also at zero."""
    states = {state.value: jobs.of(state) for state in JobState} | {"invalid": jobs.invalid}
    yield ROW_STATES.with_samples(("", {"state": state}, n) for state, n in states.items())
    yield UNKNOWN_ROWS.of(jobs.in_doubt)


def lane_families(lanes: Iterable[LaneStatus]) -> Iterator[MetricFamily]:
    shown = list(lanes)
    yield INFLIGHT.with_samples(("", {"account": one.label}, one.slots_held) for one in shown)
    yield INFLIGHT_LIMIT.with_samples(("", {"account": one.label}, one.slots) for one in shown)


def money_families(spent: Micros, budgets: Iterable[Balance]) -> Iterator[MetricFamily]:
    """A scope without a cap has no sample of one."""
    yield COST_USD.of(_dollars(spent))
    yield BUDGET_USD.with_samples(
        ("", {"scope": line.scope, "kind": kind}, _dollars(Micros(amount)))
        for line in budgets
        for kind, amount in (
            ("spent", line.settled + line.estimated),
            ("reserved", line.reserved),
            ("cap", line.cap),
        )
        if amount is not None
    )


def _dollars(amount: Micros) -> float:
    return amount / 1_000_000
