"""Telemetry part by part: what is asked for, the spans of attempts, receivers that take nothing."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, JobState, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.telemetry.attempt_spans import AttemptSpans
from fluxbatch.engine.telemetry.environment import telemetry_wanted
from fluxbatch.engine.telemetry.run_telemetry import RunTelemetry
from fluxbatch.errors import ExitCode
from fluxbatch.events import PredictionMoved, RunEnded, RunStarted
from fluxbatch.infra.runtime import SystemClock
from tests.support.telemetry_receiver import telemetry_receiver

P = PredictionState
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
BEGUN = RunStarted("run-1", False, 3, 0, Micros(0), Micros(0))
KEY = "sk-secret-0815"


@pytest.mark.parametrize(
    ("environ", "signals"),
    [
        ({BASE: "http://a"}, ("traces", "metrics")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, ("traces",)),
        ({BASE: "http://a", "OTEL_TRACES_EXPORTER": "none"}, ("metrics",)),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ("metrics",)),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ("traces",)),
        (
            {
                BASE: "http://a",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ("traces",),
        ),
    ],
)
def test_a_signal_is_sent_where_its_exporter_or_an_address_asks_for_it(
    environ: dict[str, str], signals: tuple[str, ...]
) -> None:
    wanted = telemetry_wanted(environ)

    assert wanted is not None
    assert wanted.signals == signals


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "b=c"},
        {BASE: " "},
        {BASE: "http://a", "OTEL_SDK_DISABLED": "TRUE"},
        {BASE: "http://a", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_nothing_is_sent_where_no_variable_says_where_to(environ: dict[str, str]) -> None:
    assert telemetry_wanted(environ) is None


def test_what_is_asked_for_and_cannot_be_is_told_by_its_variable() -> None:
    wanted = telemetry_wanted({BASE: "http://a", "OTEL_TRACES_EXPORTER": "zipkin"})

    assert wanted is not None
    assert wanted.problems == (
        "OTEL_TRACES_EXPORTER: no traces are sent by 'zipkin'; there is otlp",
    )


class Traced:
    """The spans of a run that is told event by event."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        tracer = provider.get_tracer("test")
        self.spans = AttemptSpans(
            tracer, "d", "a-model", "https://api.eachlabs.ai/v1", lambda text: f"<{text}>"
        )
        self.spans.hear(BEGUN)

    def move(self, *states: PredictionState, prediction: int = 1, **more: Any) -> None:
        for state in states:
            self.spans.hear(
                PredictionMoved("ab", 1, prediction, None, state, JobState.ACTIVE, "lane", **more)
            )

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self._kept.get_finished_spans() if span.parent is None][:-1]

    def ended(self, code: int = 0) -> ReadableSpan:
        self.spans.hear(RunEnded("run-1", code, "why"))
        return self._kept.get_finished_spans()[-1]


def test_an_attempt_is_one_span_however_often_it_is_polled_or_heard_of() -> None:
    """
    A lost answer and its finding are moments of it; a cost that is learned later is not another.
    """
    traced = Traced()
    traced.move(P.SUBMITTING, model="another", seed=7)
    traced.move(P.UNKNOWN, P.UNKNOWN, P.RUNNING, P.RUNNING)
    traced.move(P.SUCCEEDED, cost=Micros(25_000))
    traced.move(P.SUCCEEDED, cost=Micros(30_000))
    whole = traced.ended()

    (span,) = traced.attempts
    assert span.name == "generate_content another"
    assert [event.name for event in span.events] == ["unknown", "running"]
    assert span.attributes is not None
    assert span.attributes["gen_ai.request.seed"] == 7
    assert span.attributes["fluxbatch.cost.usd"] == 0.025
    assert span.attributes["server.port"] == 443
    assert "fluxbatch.adopted" not in span.attributes
    assert [link.context.span_id for link in span.links] == [
        whole.get_span_context().span_id  # type: ignore[union-attr]
    ]


def test_what_an_earlier_process_began_is_a_span_from_when_it_is_seen_alive() -> None:
    traced = Traced()
    traced.move(P.RUNNING, P.ERRORED, failure=FailureClass.PROVIDER_ERROR, reason="no luck")
    traced.move(P.SUCCEEDED, prediction=2)
    traced.ended()

    (span,) = traced.attempts
    assert span.attributes is not None
    assert span.attributes["fluxbatch.adopted"] is True
    assert span.attributes["error.type"] == "provider_error"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "<no luck>")


@pytest.mark.parametrize(
    ("code", "status"), [(0, StatusCode.UNSET), (4, StatusCode.UNSET), (7, StatusCode.ERROR)]
)
def test_the_end_of_a_run_ends_what_it_leaves_running(code: int, status: StatusCode) -> None:
    """
    A run that ended as it may is no error.
    """
    traced = Traced()
    traced.move(P.SUBMITTING, P.RUNNING)
    whole = traced.ended(code)

    (span,) = traced.attempts
    assert span.attributes is not None
    assert span.attributes["fluxbatch.state"] == "running"
    assert span.status.is_unset
    assert isinstance(whole.status, Status)
    assert whole.status.status_code is status


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def absent() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def telemetry(folder: Path) -> RunTelemetry:
    request = RunRequest(
        load_settings(None, {}, {}), [ApiKey(KEY, label="main")], Folder(folder), None
    )
    return RunTelemetry(request, SystemClock(), ("traces", "metrics"))


def closing_s(observed: RunTelemetry) -> float:
    began_s = time.monotonic()
    observed.close()
    return time.monotonic() - began_s


def test_the_end_waits_a_few_seconds_for_a_receiver_that_is_silent(
    tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    And then it is told; its requests have ten seconds each.
    """
    monkeypatch.setenv(BASE, silent)
    observed = telemetry(tmp_path / "d")
    observed.hear(BEGUN)
    observed.hear(RunEnded("run-1", 0, ""))

    assert 2.5 < closing_s(observed) < 8.0
    assert "traces are not taken" in observed.failure


def test_the_end_waits_for_no_receiver_that_is_not_there(
    tmp_path: Path, absent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Its first error is enough, though the library would try on; and it is in nobody's log.
    """
    monkeypatch.setenv(BASE, absent)
    observed = telemetry(tmp_path / "d")
    observed.hear(BEGUN)
    observed.hear(RunEnded("run-1", 0, ""))
    with caplog.at_level(logging.DEBUG, "opentelemetry.exporter"):
        took_s = closing_s(observed)

    assert took_s < 2.0
    assert observed.failure == "OpenTelemetry: traces are not taken (it cannot be reached)"
    assert caplog.records == []


def test_a_key_in_a_reason_is_taken_out_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with telemetry_receiver() as receiver:
        monkeypatch.setenv(BASE, receiver.address)
        observed = telemetry(tmp_path / "d")
        observed.hear(BEGUN)
        for state, reason in ((P.SUBMITTING, None), (P.ERRORED, f"{KEY} at https://a.b/?sig=1")):
            observed.hear(
                PredictionMoved("ab", 1, 1, None, state, JobState.ACTIVE, "lane", reason=reason)
            )
        observed.ended(ExitCode.ERROR, f"with {KEY}")
        observed.close()

    messages = {span.name: span.status.message for span in receiver.spans}
    assert observed.failure == ""
    assert messages == {
        "generate_content flux-depth-dev": "<key main> at https://a.b/",
        "fluxbatch run": "with <key main>",
    }
