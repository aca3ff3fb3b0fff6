"""A dataset whose ledger is lost, moved or replaced: nothing is bought a second time."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof


def created(emulator: EmulatorProcess) -> int:
    number: int = emulator.stats()["created"]
    return number


@pytest.mark.parametrize("loss", ["removed", "empty", "new"])
def test_images_without_their_ledger_are_not_bought_again(
    loss: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Every verb refuses and names the ways out; `plan` does not count them as new.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    assert run(emulator, manifest).code == 0
    ledger = tmp_path / "d" / "ledger.sqlite"
    ledger.unlink()
    if loss == "empty":
        ledger.touch()
    elif loss == "new":
        _make_new(ledger)

    for ended in (
        run(emulator, manifest),
        fluxbatch("plan", manifest, "--out", tmp_path / "d"),
        fluxbatch("status", tmp_path / "d"),
        fluxbatch("repair", tmp_path / "d"),
    ):
        assert ended.code == 2, ended.err
        assert f"fluxbatch recover {tmp_path / 'd'}" in ended.err
        assert "would be bought again" in ended.err
    assert created(emulator) == 3


def _make_new(ledger: Path) -> None:
    """A SQLite file without a table."""
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("VACUUM")
    assert ledger.stat().st_size


def test_a_folder_that_has_other_images_is_no_dataset_that_lost_its_ledger(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Somebody's own pictures may be called images, too.
    """
    (tmp_path / "d" / "images").mkdir(parents=True)
    (tmp_path / "d" / "images" / "holiday.jpg").write_bytes(b"the sea")

    assert run(emulator, write_manifest(tmp_path / "m.jsonl", 1)).code == 0


def test_creates_of_a_ledger_that_is_gone_are_not_bought_again(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Without a single image this machine still knows of them; a folder made anew is another one.
    """
    out = tmp_path / "d"
    assert run(emulator, write_manifest(tmp_path / "m.jsonl", 2)).code == 0
    for path in (*out.glob("ledger.sqlite*"), *(out / "images").iterdir()):
        path.unlink()

    refused = run(emulator, tmp_path / "m.jsonl")
    assert refused.code == 2
    assert "this machine knows of 2 creates of it" in refused.err
    assert "name another folder or remove this one" in refused.err
    assert created(emulator) == 2

    shutil.rmtree(out)
    assert run(emulator, tmp_path / "m.jsonl").code == 0
    assert created(emulator) == 4


@pytest.mark.parametrize("what", ["removed", "replaced", "renamed"])
def test_a_run_that_loses_its_ledger_buys_no_more(
    what: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    At once, with exit 1; a renamed dataset goes on under its new name and pays nothing twice.
    """
    manifest, out = write_manifest(tmp_path / "m.jsonl", 60), tmp_path / "d"
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--json")
    env = {"FLUXBATCH_LIMITS__CONCURRENT": "2", "FLUXBATCH_RECONCILE__LAG": "0.5"}
    with started(*words, env=env) as process:
        deadline = time.monotonic() + 60
        while created(emulator) < 6:  # each asking is an exchange with the provider
            assert time.monotonic() < deadline
        if what == "renamed":
            out.rename(tmp_path / "e")
        else:
            if what == "replaced":
                shutil.copy(out / "ledger.sqlite", tmp_path / "copy")
            os.unlink(out / "ledger.sqlite")
            if what == "replaced":
                (tmp_path / "copy").rename(out / "ledger.sqlite")
        at_loss = created(emulator)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 1, err
    assert created(emulator) <= at_loss + 4
    assert "Traceback" not in err
    if what != "renamed":
        assert "the dataset's ledger is no longer where it was" in err
        return
    again = fluxbatch(
        "run", manifest, "--out", tmp_path / "e", "--base-url", emulator.base_url, timeout=120
    )
    assert again.code == 0, again.err
    assert not out.exists()
    assert created(emulator) == 60


def test_the_dataset_cannot_be_a_file(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    A typed name that is taken is a usage error.
    """
    (tmp_path / "d").write_text("mine")

    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 1))

    assert ended.code == 2
    assert f"cannot make the dataset {str(tmp_path / 'd')!r}" in ended.err
    assert (tmp_path / "d").read_text() == "mine"
