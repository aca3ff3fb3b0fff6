"""Real runs as others observe them: metrics in a file, and the standard logger."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import fluxbatch
from tests.integration.test_api import KEYS, make_rows
from tests.integration.test_cli_run import run, write_manifest
from tests.support.emulator import EmulatorProcess, emulator_process


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def test_a_run_leaves_its_metrics_for_prometheus(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    A process of its own, its setting from the environment; read by Prometheus' parser.
    """
    path = tmp_path / "lighthouses.prom"
    manifest = write_manifest(tmp_path / "m.jsonl", 4)
    env = {"FLUXBATCH_METRICS__TEXTFILE": str(path)}
    assert run(emulator, manifest, "--budget", "1", env=env).code == 0

    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    found = {
        (sample.name, sample.labels.get("state") or sample.labels.get("outcome")
         or sample.labels.get("kind")): sample.value
        for family in families.values() for sample in family.samples
        if sample.labels.get("scope") in (None, "run")
    }  # fmt: skip

    assert found["fluxbatch_rows", "done"] == 4
    assert found["fluxbatch_creates_total", "accepted"] == 4
    assert found["fluxbatch_generation_duration_seconds_count", None] == 4
    assert found["fluxbatch_cost_usd_total", None] == 0.1
    assert found["fluxbatch_budget_usd", "cap"] == 1
    assert found["fluxbatch_inflight", None] == found["fluxbatch_exit_code", None] == 0
    assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}
    requests = {
        (one.labels["route"], one.labels["code"]): one.value
        for one in families["fluxbatch_http_requests"].samples
    }
    assert requests["POST /prediction", "200"] == 4
    assert requests["GET /prediction/{id}", "200"] >= 4
    assert requests["PUT elsewhere", "200"] == 1  # the control image, to where it was told
    timed = families["fluxbatch_http_request_duration_seconds"].samples
    assert sum(one.value for one in timed if one.name.endswith("_count")) == sum(requests.values())
    assert found["fluxbatch_rate_wait_seconds_count", None] >= 4
    assert found["fluxbatch_ledger_commit_duration_seconds_count", None] > 4
    assert found["fluxbatch_ledger_commit_duration_seconds_sum", None] > 0
    labels = {name for family in families.values() for one in family.samples for name in one.labels}
    assert labels <= {
        "dataset", "state", "outcome", "account", "scope", "kind", "le", "version",
        "route", "code", "result",
    }  # fmt: skip
    assert "a lighthouse" not in path.read_text()


async def test_the_logger_gets_what_happens_and_no_key(
    emulator: EmulatorProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The ends as INFO, images as DEBUG; a record has the event's values.
    """
    with caplog.at_level(logging.DEBUG, logger="fluxbatch"):
        async with fluxbatch.Dataset.open(tmp_path / "d") as dataset:
            await dataset.run(make_rows(2), base_url=emulator.base_url, keys=KEYS)

    records = [record for record in caplog.records if record.name == "fluxbatch"]
    by_level = {
        level: [one.getMessage() for one in records if one.levelno == level]
        for level in (logging.DEBUG, logging.INFO)
    }
    assert [words.split(" run_id")[0] for words in by_level[logging.INFO]] == [
        "run started", "run ended",
    ]  # fmt: skip
    stored = [words for words in by_level[logging.DEBUG] if words.startswith("output stored ")]
    assert len(stored) == 2
    values = records[-1].__dict__["fluxbatch"]
    assert (values["exit_code"], "run_id" in values) == (0, True)
    assert KEYS[0].partition("=")[2] not in caplog.text


def test_a_key_in_an_event_is_taken_out_before_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Whatever a provider repeats; a note is a warning.
    """
    from fluxbatch.api.event_logging import logging_listener
    from fluxbatch.config.api_keys import ApiKey
    from fluxbatch.events import Noticed

    hear = logging_listener([ApiKey("sk-secret-0815", label="main")])
    hear(Noticed("it said sk-secret-0815 and https://a.invalid/x?token=1"))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "noticed message=it said <key main> and https://a.invalid/x"
