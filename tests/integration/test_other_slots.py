"""Slots that another dataset's creates hold: no longer than they must, and never in silence."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.kills.killing import wait_for_creates
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

_SCALED = {
    "FLUXBATCH_PROVIDER__TIMEOUT": "5",
    "FLUXBATCH_RECONCILE__LAG": "2",
    "FLUXBATCH_SINK__MIN_FREE": "0",
}


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process("--speed", "10", "--image-size", "64", "--window", "600") as running:
        yield running


def _manifest(folder: Path, name: str, jobs: int) -> Path:
    path = folder / f"{name}.jsonl"
    rows = [
        {"prompt": f"{name} {n}", "control_image": "https://photos.invalid/1.jpg"}
        for n in range(jobs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _env(folder: Path) -> Mapping[str, str]:
    return {**_SCALED, "XDG_STATE_HOME": str(folder / "state")}


def _abandon(emulator: EmulatorProcess, folder: Path) -> None:
    """A dataset that is killed with ten creates nobody answered."""
    emulator.faults(create_timeout_after=1)
    out, manifest = folder / "abandoned", _manifest(folder, "abandoned", 12)
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url)
    with started(*words, env=_env(folder)):
        wait_for_creates(emulator, 10)
    emulator.faults(create_timeout_after=0)


@pytest.mark.timeout(120)
def test_a_new_run_does_not_stand_still_for_creates_of_an_abandoned_dataset(
    tmp_path: Path, emulator: EmulatorProcess
) -> None:
    """
    It says whose they are, begins once a late listing shows them ended, and ends with its work.
    """
    _abandon(emulator, tmp_path)
    manifest, out = _manifest(tmp_path, "fresh", 3), tmp_path / "fresh"
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url)

    began = time.monotonic()
    with started(*words, env=_env(tmp_path)) as process:
        wait_for_creates(emulator, 11, timeout_s=20)
        told = fluxbatch("status", out, env=_env(tmp_path))
        _, said = process.communicate(timeout=30)

    assert process.returncode == 0, said
    assert time.monotonic() - began < 25
    place = tmp_path / "abandoned"
    assert f"10 of 10 slots: creates of {place} without an answer" in said
    assert f"`fluxbatch reconcile {place}`" in said
    assert told.code == 0
    with sqlite3.connect(out / "ledger.sqlite") as ledger:
        assert ledger.execute("SELECT DISTINCT state FROM jobs").fetchall() == [("done",)]


@pytest.mark.timeout(120)
def test_status_says_whose_creates_a_run_waits_for(
    tmp_path: Path, emulator: EmulatorProcess
) -> None:
    """
    Also from another process, which has the lanes' files alone to look at.
    """
    _abandon(emulator, tmp_path)
    manifest, out = _manifest(tmp_path, "fresh", 3), tmp_path / "fresh"
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url)

    with started(*words, env=_env(tmp_path)):
        end = time.monotonic() + 10
        told = ""
        while "slots" not in told and time.monotonic() < end:
            if (out / "ledger.sqlite").is_file():
                told = fluxbatch("status", out, env=_env(tmp_path)).out

    assert f"10 of 10 slots: creates of {tmp_path / 'abandoned'} without an answer" in (
        " ".join(told.split())
    )
