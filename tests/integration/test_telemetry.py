"""Real runs, observed by a real receiver of OpenTelemetry over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from fluxbatch.engine.metrics.families import ALL_METRICS
from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import KEY
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.telemetry_receiver import TelemetryReceiver, telemetry_receiver, values

pytestmark = pytest.mark.proof

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[TelemetryReceiver]:
    with telemetry_receiver() as listening:
        yield listening


@pytest.fixture(autouse=True)
def _no_faults(emulator: EmulatorProcess) -> None:
    emulator.reset()


def test_a_run_is_a_span_and_each_of_its_attempts_is_one_linked_to_it(
    emulator: EmulatorProcess, receiver: TelemetryReceiver, tmp_path: Path
) -> None:
    """
    Named by the conventions for generative AI; no prompt and no key is in anything that is sent.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 4)
    env = {ENDPOINT: receiver.address, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=night"}
    ended = run(emulator, manifest, env=env)

    (whole,) = [span for span in receiver.spans if span.name == "fluxbatch run"]
    attempts = [span for span in receiver.spans if span.name == "generate_content flux-depth-dev"]
    told = [values(span.attributes) for span in attempts]
    assert ended.code == 0
    assert len(attempts) == 4
    assert len(receiver.spans) == 5
    assert [(link.trace_id, link.span_id) for span in attempts for link in span.links] == [
        (whole.trace_id, whole.span_id)
    ] * 4
    assert {span.trace_id for span in attempts}.isdisjoint({whole.trace_id})
    assert all(span.kind == Span.SPAN_KIND_CLIENT and not span.parent_span_id for span in attempts)
    assert all(whole.start_time_unix_nano < span.start_time_unix_nano for span in attempts)
    assert all(span.end_time_unix_nano <= whole.end_time_unix_nano for span in attempts)
    assert {one["fluxbatch.run.id"] for one in told} == {ended.object["run_id"]}
    assert {one["gen_ai.response.id"] for one in told} == {
        one["id"] for one in emulator.predictions()
    }
    assert {one["gen_ai.request.seed"] for one in told} == {
        one["input"]["seed"] for one in emulator.predictions()
    }
    for one in told:
        assert one["gen_ai.provider.name"] == "eachlabs"
        assert one["gen_ai.output.type"] == "image"
        assert f"{one['server.address']}:{one['server.port']}" in emulator.base_url
        assert one["fluxbatch.cost.usd"] == 0.025
        assert (one["fluxbatch.state"], one["fluxbatch.attempt"]) == ("succeeded", 1)
    assert values(whole.attributes)["fluxbatch.exit_code"] == 0
    assert {headers["x-tenant"] for headers in receiver.headers} == {"night"}
    assert {one["service.name"] for one in receiver.resources} == {"fluxbatch"}
    sent = b"".join(receiver.bodies)
    assert b"a lighthouse" not in sent
    assert KEY.encode() not in sent


def test_the_metrics_have_the_names_and_values_that_prometheus_gets(
    emulator: EmulatorProcess, receiver: TelemetryReceiver, tmp_path: Path
) -> None:
    """
    Of both signals, one alone can be chosen; the service's name is the environment's.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    env = {ENDPOINT: receiver.address, "OTEL_SERVICE_NAME": "nightly"}
    env |= {"OTEL_TRACES_EXPORTER": "none"}
    assert run(emulator, manifest, "--budget", "1", env=env).code == 0

    found = {name: points(metric) for name, metric in receiver.metrics.items()}
    assert receiver.spans == []
    assert set(found) == {family.name for family in ALL_METRICS}
    assert found["fluxbatch_rows"]["done"] == 3
    assert found["fluxbatch_creates_total"] == {
        "accepted": 3, "found": 0, "refused": 0, "unsent": 0, "unknown": 0, "absent": 0,
    }  # fmt: skip
    assert found["fluxbatch_budget_usd"]["run", "cap"] == 1.0
    assert found["fluxbatch_cost_usd_total"][None] == 0.075
    assert found["fluxbatch_exit_code"][None] == 0
    (durations,) = receiver.metrics["fluxbatch_generation_duration_seconds"].histogram.data_points
    assert durations.count == 3
    assert list(durations.explicit_bounds)[:3] == [1.0, 2.0, 5.0]
    assert receiver.metrics["fluxbatch_creates_total"].sum.is_monotonic
    assert {one["service.name"] for one in receiver.resources} == {"nightly"}


def points(metric: Any) -> dict[Any, float]:
    """By the labels other than the dataset's."""
    found = {}
    data = metric.sum if metric.HasField("sum") else metric.gauge
    for point in data.data_points:
        labels = values(point.attributes)
        assert labels.pop("dataset")
        key = tuple(labels.values())
        found[key if len(key) > 1 else key[0] if key else None] = (
            point.as_double if point.HasField("as_double") else point.as_int
        )
    return found


def test_an_attempt_that_fails_says_of_what(
    emulator: EmulatorProcess, receiver: TelemetryReceiver, tmp_path: Path
) -> None:
    """
    Each is a span; the run as a whole went as it may.
    """
    emulator.faults(prediction_error=1.0)
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    ended = run(emulator, manifest, env={ENDPOINT: receiver.address})

    attempts = [span for span in receiver.spans if span.name.startswith("generate_content")]
    (whole,) = [span for span in receiver.spans if span.name == "fluxbatch run"]
    numbers = [values(span.attributes)["fluxbatch.attempt"] for span in attempts]
    assert ended.code == 3
    assert sorted(numbers) == list(range(1, len(attempts) + 1))
    assert all(span.status.code == Status.STATUS_CODE_ERROR for span in attempts)
    assert all(values(span.attributes)["error.type"] for span in attempts)
    assert whole.status.code == Status.STATUS_CODE_UNSET


@pytest.mark.parametrize("is_there", [True, False])
def test_a_receiver_that_takes_nothing_is_told_once_and_changes_nothing(
    emulator: EmulatorProcess, tmp_path: Path, is_there: bool
) -> None:
    """
    Neither one that refuses nor one that is not there; of the library's own errors none is shown.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 2)
    with telemetry_receiver(status=400) as refusing, socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        ended = run(emulator, manifest, env={ENDPOINT: refusing.address if is_there else address})

    assert ended.code == 0
    assert ended.object["jobs"]["done"] == 2
    why = "it answers 400" if is_there else "it cannot be reached"
    assert ended.err.count(f"OpenTelemetry: traces are not taken ({why})") == 1
    assert ended.err.count("OpenTelemetry") == 1
    assert "Traceback" not in ended.err
    assert "export" not in ended.err


def test_what_cannot_be_sent_as_asked_is_told_and_the_run_goes_on(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    A protocol that is not spoken here, for one signal; the other is not asked for.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    env = {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    ended = run(emulator, manifest, env={**env, "OTEL_METRICS_EXPORTER": "none"})

    assert ended.code == 0
    assert "no traces are sent by 'grpc'; there is http/protobuf" in ended.err


def _run_here(emulator: EmulatorProcess, folder: Path, program: str) -> tuple[int, str, str]:
    """A run by `python -c`, with what comes before and after it."""
    manifest = write_manifest(folder / "m.jsonl", 1)
    words = ["run", str(manifest), "--out", str(folder / "d"), "--base-url", emulator.base_url]
    text = program.replace("RUN", f"main({words!r})")
    command = [sys.executable, "-c", f"import sys; from fluxbatch.cli import main\n{text}"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "EACHLABS_API_KEY": KEY}
    env |= {ENDPOINT: "http://127.0.0.1:9"} if "None" in program else {}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def test_nothing_of_it_is_imported_where_no_variable_asks(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    code, out, err = _run_here(
        emulator,
        tmp_path,
        "assert RUN == 0\nprint([m for m in sys.modules if m.startswith('opentelemetry')])",
    )

    assert code == 0, err
    assert out.splitlines()[-1] == "[]"


def test_without_the_extra_the_run_goes_on_and_says_what_to_install(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    code, _, err = _run_here(
        emulator, tmp_path, "sys.modules['opentelemetry'] = None\nsys.exit(RUN)"
    )

    assert code == 0, err
    assert "pip install 'fluxbatch-engine[otel]'" in err
