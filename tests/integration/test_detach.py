"""`fluxbatch run --detach`: a run that goes on without a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from tests.integration.test_cli_run import write_manifest
from tests.support.commands import fluxbatch
from tests.support.emulator import emulator_process

pytestmark = pytest.mark.proof

_SLOW = ("--speed", "10", "--image-size", "64", "--sigma", "0")


def test_a_detached_run_answers_once_it_is_at_work_and_goes_on(tmp_path: Path) -> None:
    """
    One JSON line with the run's id; the run ends by itself, without a word on our streams.
    """
    manifest, out = write_manifest(tmp_path / "m.jsonl", 15), tmp_path / "d"
    with emulator_process(*_SLOW) as emulator:
        words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--json")
        began = fluxbatch(*words, "--detach")
        shown = fluxbatch("ctl", out, "show", "--json")
        watched = fluxbatch("watch", out)

    assert began.code == 0, began.err
    assert len(began.out.splitlines()) == 1
    assert (began.object["run_id"], began.object["pid"]) == (
        shown.object["run_id"],
        shown.object["pid"],
    )
    assert "15 in all: 15 done" in watched.out


def test_a_detached_run_that_is_refused_says_why(tmp_path: Path) -> None:
    """
    Its exit code and its words are the command's; nothing is written into the other's log.
    """
    manifest, out = write_manifest(tmp_path / "m.jsonl", 3), tmp_path / "d"
    out.mkdir()
    (out / "run.log").write_text("what the run at work says\n")
    with emulator_process(*_SLOW) as emulator, Folder(out).lock():
        words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--json")
        ended = fluxbatch(*words, "--detach")

    assert ended.code == 6
    assert "in use by" in ended.err
    assert (out / "run.log").read_text() == "what the run at work says\n"
