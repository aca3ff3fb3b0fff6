"""The metrics of a run, read by Prometheus' own parser, and the file they are written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluxbatch.config.settings import MetricsSettings
from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.job import JobState, PredictionState
from fluxbatch.domain.money import Balance, Micros
from fluxbatch.engine.metrics import textfile
from fluxbatch.engine.metrics.exposition import Histogram, MetricFamily, exposition
from fluxbatch.engine.metrics.run_metrics import RunMetrics
from fluxbatch.engine.metrics.textfile import Show, with_textfile
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.errors import ConfigError, ExitCode, SinkError
from fluxbatch.events import (
    CommitMeasured,
    Event,
    Events,
    Measurement,
    Noticed,
    OutputStored,
    PermitMeasured,
    PredictionMoved,
    RequestMeasured,
    RunEnded,
    WebhookMeasured,
)
from fluxbatch.infra.runtime import Runtime, SystemClock, Timestamp, real_runtime
from fluxbatch.ledger.queries.totals import JobCounts, Totals

T = TypeVar("T")
P = PredictionState
NAME = 'a "strange" \\ place'
ZERO = Micros(0)
NOTHING = Totals(0, ZERO, ZERO, ZERO, ZERO, 0, 0)


class Watch:
    """A clock that is told what it shows."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> Timestamp:
        return SystemClock().now()


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and labels but for the dataset's, as the parser reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("dataset") == NAME
            found[sample.name, ",".join(f"{k}={v}" for k, v in labels.items())] = sample.value
    return found


def moved(prediction: int, state: PredictionState) -> PredictionMoved:
    return PredictionMoved("ab", 1, prediction, None, state, JobState.ACTIVE, "lane")


def status() -> RunStatus:
    counts = JobCounts({JobState.DONE: 3, JobState.PENDING: 4}, 2, 1, 0, submitting=1)
    spent = Totals(3, Micros(50_000), Micros(25_000), Micros(25_000), Micros(0), 3, 9)
    caps = (
        Balance("run", "r", Micros(1_000_000), Micros(25_000), Micros(50_000), Micros(25_000)),
        Balance("dataset", "", None, Micros(25_000), Micros(50_000), Micros(25_000)),
    )
    lanes = (LaneStatus("main", 3, 10, 7, 100, 60.0, "working"),)
    return RunStatus("run-1", 1.0, counts, spent, spent, caps, lanes, 0, "")


def summary(code: ExitCode = ExitCode.DONE) -> RunSummary:
    return RunSummary("run-1", code, "", False, JobCounts({}, 0, 0, 0), NOTHING, NOTHING, 1.0)


def test_each_create_counts_once_for_each_thing_that_became_of_it() -> None:
    """
    A lost answer is unknown, then found; polls of what runs count nothing.
    """
    metrics = RunMetrics(NAME, Watch())
    for prediction, states in enumerate(
        (
            (P.SUBMITTING, P.RUNNING, P.RUNNING, P.SUCCEEDED),
            (P.SUBMITTING, P.REFUSED),
            (P.SUBMITTING, P.UNSENT),
            (P.SUBMITTING, P.UNKNOWN, P.UNKNOWN, P.RUNNING, P.ERRORED),
            (P.SUBMITTING, P.UNKNOWN, P.ABSENT),
            (P.RUNNING, P.SUCCEEDED),  # of an earlier process
        )
    ):
        for state in states:
            metrics.hear(moved(prediction, state))

    found = samples(metrics.text())

    outcomes = {"accepted": 1, "refused": 1, "unsent": 1, "unknown": 2, "found": 1, "absent": 1}
    for outcome, count in outcomes.items():
        assert found["fluxbatch_creates_total", f"outcome={outcome}"] == count
    assert found["fluxbatch_generation_duration_seconds_count", ""] == 1


def test_every_outcome_stands_at_zero_from_the_start() -> None:
    """
    A rate over a counter that appears at 1 would miss its first.
    """
    found = samples(RunMetrics(NAME, Watch()).text())

    creates = {labels: n for (name, labels), n in found.items() if name.endswith("creates_total")}
    assert creates == {f"outcome={name}": 0 for name in
                       ("accepted", "found", "refused", "unsent", "unknown", "absent")}  # fmt: skip


def test_durations_are_from_the_answer_to_the_success() -> None:
    """
    In cumulative buckets; a bound belongs to its own.
    """
    watch = Watch()
    metrics = RunMetrics(NAME, watch)
    for prediction, took_s in enumerate((1.5, 5.0, 1_000.0)):
        metrics.hear(moved(prediction, P.SUBMITTING))
        watch.seconds += 3.0
        metrics.hear(moved(prediction, P.RUNNING))
        watch.seconds += took_s
        metrics.hear(moved(prediction, P.SUCCEEDED))

    found = samples(metrics.text())

    buckets = {bound: found["fluxbatch_generation_duration_seconds_bucket", f"le={bound}"]
               for bound in ("1", "2", "5", "600", "+Inf")}  # fmt: skip
    assert buckets == {"1": 0, "2": 1, "5": 2, "600": 2, "+Inf": 3}
    assert found["fluxbatch_generation_duration_seconds_sum", ""] == 1_006.5


def test_measurements_are_counted_by_their_route_and_result() -> None:
    """
    Whoever calls at the webhooks' address without being the provider is seen too.
    """
    metrics = RunMetrics(NAME, Watch())
    for code, seconds in (("200", 0.02), ("200", 3.0), ("none", 30.0)):
        metrics.measure(RequestMeasured("POST /prediction", code, seconds))
    metrics.measure(RequestMeasured("GET /prediction/{id}", "404", 0.5))
    metrics.measure(PermitMeasured(45.0))
    metrics.measure(CommitMeasured(0.004))
    metrics.measure(WebhookMeasured("refused"))

    found = samples(metrics.text())

    assert found["fluxbatch_http_requests_total", "route=POST /prediction,code=200"] == 2
    assert found["fluxbatch_http_requests_total", "route=POST /prediction,code=none"] == 1
    name, route = "fluxbatch_http_request_duration_seconds", "route=POST /prediction"
    assert found[f"{name}_bucket", f"{route},le=0.025"] == 1
    assert found[f"{name}_bucket", f"{route},le=30"] == found[f"{name}_count", route] == 3
    assert found[f"{name}_count", "route=GET /prediction/{id}"] == 1
    assert found["fluxbatch_rate_wait_seconds_sum", ""] == 45.0
    assert found["fluxbatch_ledger_commit_duration_seconds_bucket", "le=0.005"] == 1
    assert found["fluxbatch_webhook_deliveries_total", "result=refused"] == 1
    assert found["fluxbatch_webhook_deliveries_total", "result=read"] == 0


def test_events_without_a_meter_measure_nothing() -> None:
    """
    What nobody counts costs nothing.
    """
    heard = list[Event]()
    events = Events(heard.append)
    assert not events.are_measured

    measured = list[Measurement]()
    both = events.heard_by(heard.append, meters=[measured.append])
    both.measure(PermitMeasured(1.0))
    both.emit(Noticed("once each"))

    assert measured == [PermitMeasured(1.0)]
    assert heard == [Noticed("once each")] * 2


def test_a_status_gives_rows_lanes_and_money() -> None:
    """
    A scope without a cap has none; every state of a job is there, also at zero.
    """
    metrics = RunMetrics(NAME, Watch())
    metrics.see(status())
    metrics.hear(OutputStored("ab", "images/a.png", 1_234, True, 0.1, 1, 1, "p"))

    found = samples(metrics.text())

    states = {state: found["fluxbatch_rows", f"state={state}"] for state in (*JobState, "invalid")}
    assert states == dict.fromkeys(JobState, 0) | {"done": 3, "pending": 4, "invalid": 1}
    assert found["fluxbatch_unknown_rows", ""] == 1
    assert found["fluxbatch_inflight", "account=main"] == 3
    assert found["fluxbatch_inflight_limit", "account=main"] == 10
    assert found["fluxbatch_cost_usd_total", ""] == 0.075
    assert found["fluxbatch_budget_usd", "scope=run,kind=spent"] == 0.075
    assert found["fluxbatch_budget_usd", "scope=run,kind=reserved"] == 0.025
    assert found["fluxbatch_budget_usd", "scope=run,kind=cap"] == 1.0
    assert ("fluxbatch_budget_usd", "scope=dataset,kind=cap") not in found
    assert found["fluxbatch_download_bytes_total", ""] == 1_234
    assert abs(found["fluxbatch_last_progress_timestamp_seconds", ""]
               - SystemClock().now().utc.timestamp()) < 60  # fmt: skip
    assert ("fluxbatch_exit_code", "") not in found


def test_a_family_without_a_sample_is_left_out() -> None:
    """
    And a large whole number has no exponent.
    """
    some = MetricFamily("a_total", "counter", "Some.").of(10.0**15)
    none = MetricFamily("b", "gauge", "None.")

    assert exposition([none, some], {}) == (
        "# HELP a_total Some.\n# TYPE a_total counter\na_total{} 1000000000000000\n"
    )
    assert list(Histogram((1.0,)).samples())[-1] == ("_count", {}, 0)


class Counted:
    """Threads that tell when so many calls have returned."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self.done = anyio.Event()

    async def __call__(self, call: Callable[[], T], /) -> T:
        result = await real_runtime().to_thread(call)
        self._left -= 1
        if not self._left:
            self.done.set()
        return result


async def test_the_file_is_written_at_the_start_again_and_again_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whole each time, and with nothing left beside it; the status reaches its listener too.
    """
    assert textfile._EVERY_S == 15.0
    monkeypatch.setattr(textfile, "_EVERY_S", 0.001)
    path, threads, seen = tmp_path / "new" / "run.prom", Counted(4), list[RunStatus]()
    runtime = Runtime(SystemClock(), Random(), threads)

    async def work(events: Events, show: Show | None) -> RunSummary:
        first = samples(path.read_text())
        assert ("fluxbatch_rows", "state=done") not in first
        assert show is not None
        show(status())
        with anyio.fail_after(10):
            await threads.done.wait()
        assert samples(path.read_text())["fluxbatch_rows", "state=done"] == 3
        events.emit(RunEnded("run-1", 3, "one failed"))
        return summary(ExitCode.SOME_FAILED)

    settings = MetricsSettings(textfile=str(path))
    await with_textfile(settings, NAME, Events(), runtime, seen.append, work)

    assert samples(path.read_text())["fluxbatch_exit_code", ""] == 3
    assert [one.name for one in path.parent.iterdir()] == ["run.prom"]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("error", "code"), [(SinkError("no disk"), 1), (ConfigError("no"), 2), (OSError(), 1)]
)
async def test_an_error_leaves_its_exit_code(tmp_path: Path, error: Exception, code: int) -> None:
    """
    And is raised as it was.
    """
    path = tmp_path / "run.prom"

    async def work(_events: Events, _show: Show | None) -> RunSummary:
        raise error

    settings = MetricsSettings(textfile=str(path))
    with pytest.raises(type(error)):
        await with_textfile(settings, NAME, Events(), real_runtime(), None, work)

    assert samples(path.read_text())["fluxbatch_exit_code", ""] == code


async def test_a_file_that_cannot_be_written_refuses_the_run(tmp_path: Path) -> None:
    """
    Before anything is spent, by its name.
    """
    (tmp_path / "file").touch()
    settings = MetricsSettings(textfile=str(tmp_path / "file" / "run.prom"))

    async def work(_events: Events, _show: Show | None) -> RunSummary:
        raise AssertionError("it ran")

    with pytest.raises(ConfigError, match=r"metrics\.textfile: cannot write"):
        await with_textfile(settings, NAME, Events(), real_runtime(), None, work)


async def test_a_file_that_cannot_be_written_any_more_is_noted_once(tmp_path: Path) -> None:
    """
    The run goes on and ends as it would.
    """
    place, heard = tmp_path / "metrics", list[Event]()
    settings = MetricsSettings(textfile=str(place / "run.prom"))

    async def work(_events: Events, _show: Show | None) -> RunSummary:
        (place / "run.prom").unlink()
        place.rmdir()
        place.touch()
        return summary()

    ended = await with_textfile(settings, NAME, Events(heard.append), real_runtime(), None, work)

    assert ended.exit_code is ExitCode.DONE
    assert [type(event) for event in heard] == [Noticed]
    assert "are not written" in str(heard[0])


@pytest.mark.parametrize("name", ["run.txt", ".bashrc", "run.prom/"])
def test_no_setting_has_another_file_replaced(name: str) -> None:
    """
    The collector reads `.prom` alone.
    """
    with pytest.raises(ValueError, match=r"does not end in \.prom"):
        MetricsSettings(textfile=name)
