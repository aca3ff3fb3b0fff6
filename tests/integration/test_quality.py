"""The way from a poor image to another in its place, as processes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def query(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(ledger)) as connection, connection:
        return connection.execute(sql).fetchall()


def test_a_black_image_is_told_and_made_anew_with_another_seed(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    One more execution is paid; the black image stays beside the new one, in a file of its own.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    assert run(emulator, manifest).code == 0
    dataset, ledger = tmp_path / "d", tmp_path / "d" / "ledger.sqlite"
    looks = query(ledger, "SELECT dhash, quality_json FROM outputs")
    assert [(len(dhash), notes) for dhash, notes in looks] == [(41, "[]")] * 3
    query(ledger, """UPDATE outputs SET quality_json = '["black"]', dhash = NULL WHERE seq = 2""")

    status = fluxbatch("status", dataset)
    assert "1 black" in status.out
    assert f"fluxbatch retry {dataset} --quality black" in status.out
    assert fluxbatch("status", dataset, "--json").object["quality"]["black"] == 1
    told = fluxbatch("retry", dataset, "--quality", "black", "--json")
    assert told.object == {"exit": 0, "retried": 1, "kept": {}}
    assert "1 done job back to pending" in told.err
    assert fluxbatch("retry", dataset, "--quality", "black", "--json").object["retried"] == 0

    again = run(emulator, manifest)
    assert (again.code, again.object["cost_usd"]["run"]) == (0, "0.025")
    assert again.object["images"] == 4
    (old, new) = query(
        ledger,
        "SELECT p.seed, o.path FROM outputs o JOIN predictions p ON p.seq = o.prediction_seq"
        " WHERE o.job_seq = (SELECT job_seq FROM outputs WHERE seq = 2) ORDER BY o.seq",
    )
    assert old[0] != new[0]
    assert new[1].partition(".")[0].endswith("_r1_0")
    assert (dataset / old[1]).exists()
    assert (dataset / new[1]).exists()
    assert emulator.stats()["created"] == 4
    assert "--quality black" not in fluxbatch("status", dataset).out


def test_a_note_that_is_none_is_refused_and_so_are_both_flags(tmp_path: Path) -> None:
    """
    Exit 2, naming what there is.
    """
    none = fluxbatch("retry", tmp_path, "--quality", "ugly", "--json")
    both = fluxbatch("retry", tmp_path, "--quality", "black", "--kind", "network", "--json")
    assert none.code == both.code == 2
    assert "black, flat, size, duplicate" in json.dumps(none.object)
    assert "one of them" in both.object["error"]
