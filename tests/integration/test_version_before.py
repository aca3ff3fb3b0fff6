"""Datasets and saved plans of version 0.1.0, opened and continued by this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import fluxbatch
from tests.support.emulator import QUICK, EmulatorProcess, emulator_process

_KEPT = Path(__file__).parents[1] / "data" / "version_0_1_0"
"""Eight rows, five of them done, the run stopped by `--limit`, and the plan saved before it."""


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process(*QUICK) as running:
        yield running


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    shutil.copytree(_KEPT, tmp_path / "night")
    return tmp_path / "night"


def test_a_dataset_of_the_version_before_goes_on_where_it_was(
    emulator: EmulatorProcess, kept: Path
) -> None:
    """
    Its five jobs keep their ids, so that only the other three are bought.
    """
    ended = fluxbatch(
        "run", kept / "rows.csv", "--out", kept / "dataset", "--json",
        "--base-url", emulator.base_url,
    )  # fmt: skip

    assert ended.code == 0
    assert ended.object["jobs"]["done"] == 8
    assert ended.object["cost_usd"] == {"run": "0.075", "dataset": "0.20", "at_risk": "0.00"}
    assert emulator.stats()["billed"] == 3
    whole = fluxbatch("repair", kept / "dataset", "--json", "--base-url", emulator.base_url)
    assert whole.code == 0


def test_a_plan_of_the_version_before_is_run_as_it_was_saved(
    emulator: EmulatorProcess, kept: Path
) -> None:
    """
    The digest is the same: what was agreed to is what is made.
    """
    plan = json.loads((kept / "plan.json").read_text())
    plan |= {
        "source": str(kept / "rows.csv"),
        "out": str(kept / "dataset"),
        "base_url": emulator.base_url,
    }
    (kept / "plan.json").write_text(json.dumps(plan))

    ended = fluxbatch("run", kept / "plan.json", "--json")

    assert ended.code == 0, ended.err
    assert emulator.stats()["billed"] == 3


@pytest.mark.parametrize("verb", ["status", "ls", "report"])
def test_a_dataset_of_the_version_before_is_read(verb: str, kept: Path) -> None:
    """
    By what only looks, too.
    """
    ended = fluxbatch(verb, kept / "dataset")

    assert ended.code == 0, ended.err
