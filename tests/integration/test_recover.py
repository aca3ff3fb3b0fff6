"""`recover`: a lost ledger comes back from the dataset's own files, and nothing is bought again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof


def created(emulator: EmulatorProcess) -> int:
    number: int = emulator.stats()["created"]
    return number


def recovered(emulator: EmulatorProcess, folder: Path, **env: str) -> Ended:
    words = ("recover", folder, "--base-url", emulator.base_url, "--json")
    return fluxbatch(*words, cwd=folder.parent, env=env)


def ledger_rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        return db.execute(sql).fetchall()


JOBS = "SELECT hex(id), model, input_json, repeat, outputs_wanted, state FROM jobs ORDER BY 1"
PREDICTIONS = (
    "SELECT provider_id, state, cost, estimated, seed, account, intended_at FROM predictions"
    " ORDER BY 1"
)
OUTPUTS = (
    "SELECT path, state, sha256, file_sha256, bytes, mime, width, height, stored_at FROM outputs"
    " ORDER BY 1"
)


@pytest.mark.parametrize("kept", ["sidecar", "embedded"])
def test_what_the_images_tell_is_what_the_ledger_said(
    kept: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Jobs, predictions with their costs, and outputs; the same manifest then buys nothing.
    """
    env = {} if kept == "sidecar" else {"FLUXBATCH_SINK__EMBED": "true",
                                        "FLUXBATCH_SINK__SIDECAR": "false"}  # fmt: skip
    manifest, folder = write_manifest(tmp_path / "m.jsonl", 4, num_outputs=2), tmp_path / "d"
    assert run(emulator, manifest, env=env).code == 0
    before = [ledger_rows(folder, sql) for sql in (JOBS, PREDICTIONS, OUTPUTS)]
    (folder / "ledger.sqlite").unlink()

    ended = recovered(emulator, folder)

    assert ended.code == 0, ended.err
    assert ended.object["images"] == {"recovered": 8, "to_fetch": 0, "by_name": 0}
    assert ended.object["cost_usd"] == {"dataset": "0.10", "estimated": "0.00"}
    assert [ledger_rows(folder, sql) for sql in (JOBS, PREDICTIONS, OUTPUTS)] == before
    again = run(emulator, manifest, env=env)
    assert again.code == 0, again.err
    assert again.object["jobs"]["done"] == 4
    assert created(emulator) == 4
    repaired = fluxbatch("repair", folder, "--base-url", emulator.base_url)
    assert repaired.out.startswith("every file is whole ("), repaired.err


def test_without_a_key_what_was_paid_is_an_estimate(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    It says so; `reconcile` settles it with a key later.
    """
    manifest, folder = write_manifest(tmp_path / "m.jsonl", 2), tmp_path / "d"
    assert run(emulator, manifest).code == 0
    (folder / "ledger.sqlite").write_bytes(b"")

    ended = recovered(emulator, folder, EACHLABS_API_KEY="")

    assert ended.code == 0
    assert "note: no API key" in ended.err
    assert ended.object["cost_usd"] == {"dataset": "0.05", "estimated": "0.05"}
    assert run(emulator, manifest).code == 0
    assert created(emulator) == 2


def test_images_without_a_word_are_known_by_their_names(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    A name ends in its job: enough not to buy it again, and it is said what is not known.
    """
    manifest, folder = write_manifest(tmp_path / "m.jsonl", 3), tmp_path / "d"
    assert run(emulator, manifest, env={"FLUXBATCH_SINK__SIDECAR": "false"}).code == 0
    (folder / "ledger.sqlite").unlink()

    ended = recovered(emulator, folder)

    assert ended.object["images"] == {"recovered": 3, "to_fetch": 0, "by_name": 3}
    assert run(emulator, manifest).code == 0
    assert created(emulator) == 3


def test_a_sidecar_without_its_image_brings_the_image_back(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    It was paid; the next run fetches it for nothing.
    """
    manifest, folder = write_manifest(tmp_path / "m.jsonl", 3), tmp_path / "d"
    assert run(emulator, manifest).code == 0
    images = sorted(p for p in (folder / "images").iterdir() if p.suffix != ".json")
    images[0].unlink()
    (folder / "ledger.sqlite").unlink()

    assert recovered(emulator, folder).object["images"]["to_fetch"] == 1
    assert run(emulator, manifest).code == 0

    assert created(emulator) == 3
    assert images[0].exists()


def test_a_ledger_that_is_there_is_left_alone(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    And a folder of which nothing is known is none of ours.
    """
    manifest, folder = write_manifest(tmp_path / "m.jsonl", 1), tmp_path / "d"
    assert run(emulator, manifest).code == 0
    before = ledger_rows(folder, JOBS)

    assert "has its ledger" in recovered(emulator, folder).object["error"]
    assert ledger_rows(folder, JOBS) == before
    (tmp_path / "e").mkdir()
    assert recovered(emulator, tmp_path / "e").code == 2
    assert recovered(emulator, tmp_path / "nowhere").code == 2


ODD: list[object] = [
    None,
    True,
    -1,
    2**63,
    1e308,
    "x" * 5_000,
    "\ud800",
    [],
    {},
    [[]],
    "2026-13-45",
]


def test_whatever_a_sidecar_says_a_ledger_comes_of_it(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Anybody may have edited it; every field takes every oddity, and the jobs are still not bought.
    """
    manifest, folder = write_manifest(tmp_path / "m.jsonl", len(ODD)), tmp_path / "d"
    assert run(emulator, manifest).code == 0
    sidecars = sorted((folder / "images").glob("*.json"))
    facts = [json.loads(path.read_bytes()) for path in sidecars]
    for name in facts[0]:
        for path, whole, value in zip(sidecars, facts, ODD, strict=True):
            path.write_text(json.dumps({**whole, name: value}))
        (folder / "ledger.sqlite").unlink()
        ended = recovered(emulator, folder)
        assert ended.code == 0, (name, ended.err)
        assert ended.object["jobs"] == len(ODD), name
        assert run(emulator, manifest).code == 0, name
    assert created(emulator) == len(ODD)
