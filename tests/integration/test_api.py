"""The Python API: the same from code, async and sync."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fluxbatch
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.errors import ConfigError, ExitCode, ManifestError
from fluxbatch.events import Event, OutputStored
from tests.support.emulator import EmulatorProcess

PHOTO = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos" / "coffee.webp"
KEYS = ["main=sk-api-test-1"]


def make_rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "prompt": f"a cup, {n}", "control_image": PHOTO, "meta.n": n}
        for n in range(count)
    ]


async def test_a_dataset_is_filled_and_read_from_async_code(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Events and statuses come as they happen; results are plain values from the ledger.
    """
    events: list[Event] = []
    statuses: list[RunStatus] = []
    async with fluxbatch.Dataset.open(tmp_path / "d") as dataset:
        summary = await dataset.run(
            make_rows(5),
            base_url=emulator.base_url,
            keys=KEYS,
            on_event=events.append,
            on_status=statuses.append,
        )
        results = list(dataset.results())

    assert summary.exit_code is ExitCode.DONE
    assert summary.jobs.of(JobState.DONE) == emulator.stats()["billed"] == 5
    assert sum(isinstance(event, OutputStored) for event in events) == 5
    assert statuses[-1].jobs.of(JobState.DONE) == 5
    assert [result.id for result in results] == ["r0", "r1", "r2", "r3", "r4"]
    third = results[2]
    assert (third.status, third.meta, third.cost_usd) == ("done", {"n": 2}, Decimal("0.025"))
    assert third.input["prompt"] == "a cup, 2"
    assert third.prediction_id is not None
    assert third.paths[0].read_bytes()[:4] == b"RIFF"
    assert third.images[0].bytes == third.paths[0].stat().st_size


def test_the_same_rows_again_are_the_same_manifest(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Nothing is bought, and only one manifest is kept.
    """
    for _ in range(2):
        summary = fluxbatch.run(
            iter(make_rows(2)), out=tmp_path, base_url=emulator.base_url, keys=KEYS
        )

    assert summary.run.spent == 0
    assert summary.dataset.spent == 50_000
    assert len(list((tmp_path / "manifests").iterdir())) == 1


async def test_the_sync_functions_work_inside_a_running_loop(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    As in a notebook's cell: the loop that runs here is neither used nor patched.
    """
    options: dict[str, Any] = {"base_url": emulator.base_url, "keys": KEYS}
    planned = fluxbatch.plan(make_rows(3), out=tmp_path, **options)
    summary = fluxbatch.run(make_rows(3), out=tmp_path, settings={"limits.window": "1s"}, **options)
    after = fluxbatch.plan(make_rows(3), out=tmp_path, **options)

    assert (planned.jobs.new, planned.cost) == (3, 75_000)
    assert summary.exit_code is ExitCode.DONE
    assert (after.jobs.done, after.cost) == (3, 0)


def test_a_refusal_is_an_exception_and_an_outcome_is_a_summary(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Bad rows raise with all of them; a budget that ends a run does not raise.
    """
    options: dict[str, Any] = {"out": tmp_path, "base_url": emulator.base_url, "keys": KEYS}
    with pytest.raises(ManifestError) as refused:
        fluxbatch.run([{"prompt": "a"}, {"prompt": ""}], **options)
    with pytest.raises(ConfigError, match="no such setting"):
        fluxbatch.run(make_rows(1), settings={"limit.creates": 1}, **options)
    summary = fluxbatch.run(make_rows(5), budget=0.05, **options)

    assert len(refused.value.bad_rows) == 3
    said, first, *_ = str(refused.value).splitlines()
    assert said.startswith("2 of 2 rows of those given cannot become jobs; nothing was spent")
    assert said.endswith("(skip_invalid=True makes the others)")
    assert first == "  row 1, control_image: is required and not given"
    assert summary.exit_code is ExitCode.STOPPED
    assert emulator.stats()["billed"] == 2


def test_a_manifest_and_a_config_are_sources_too(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    By path, with the environment's keys where none are given.
    """
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(
        json.dumps({"prompt": "x", "control_image": str(PHOTO), "num_outputs": 2}) + "\n"
    )
    config = tmp_path / "c.toml"
    config.write_text('manifest = "m.jsonl"\n[defaults]\nguidance = 3\n')
    out = tmp_path / "d"
    first = fluxbatch.run(manifest, out=out, base_url=emulator.base_url, keys=KEYS)
    second = fluxbatch.run(config, out=out, base_url=emulator.base_url, keys=KEYS)

    assert (first.run.images, second.run.images) == (2, 2)
    (result,) = fluxbatch.Dataset.open(out).results()
    assert result.input["guidance"] == 3
    assert fluxbatch.Dataset.open(out).totals().creates == 2


def test_failed_and_invalid_rows_are_results_with_their_reasons(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Every row has an end, and says why.
    """
    emulator.faults(prediction_filtered={"chance": 1, "times": 1})
    rows = [*make_rows(1), {"id": "bad", "prompt": "a"}]
    fluxbatch.run(rows, out=tmp_path, base_url=emulator.base_url, keys=KEYS, skip_invalid=True)
    failed, invalid = fluxbatch.Dataset(tmp_path).results()

    assert (failed.status, failed.failure) == ("failed", "filtered")
    assert failed.reason
    assert (invalid.status, invalid.job_id, invalid.images) == ("invalid", None, ())
    assert "control_image: is required" in (invalid.reason or "")


@pytest.mark.parametrize("name", ["on_event", "on_status"])
def test_what_a_callers_function_raises_comes_out_as_it_is(
    name: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Not within a group of one."""

    def wrong(_: object) -> None:
        raise ZeroDivisionError

    options: dict[str, Any] = {"base_url": emulator.base_url, "keys": KEYS, name: wrong}
    with pytest.raises(ZeroDivisionError):
        fluxbatch.run(make_rows(2), out=tmp_path / "d", **options)


def test_one_key_may_be_given_alone(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """A text is one key, and not one a letter."""
    summary = fluxbatch.run(
        make_rows(1), out=tmp_path / "d", base_url=emulator.base_url, keys="sk-api-test-1"
    )
    assert summary.exit_code is ExitCode.DONE
