"""Watching a run from another terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from tests.integration.test_cli_run import write_manifest
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.terminal import on_terminal

pytestmark = pytest.mark.proof


def wait_for_creates(emulator: EmulatorProcess, count: int) -> None:
    end = time.monotonic() + 30
    while emulator.stats()["created"] < count:
        assert time.monotonic() < end, "too slow"


def test_a_run_is_watched_to_its_end_without_touching_it(tmp_path: Path) -> None:
    """
    The watcher draws the same screen, says where the dataset stands when the run is over, and
    the run knows nothing of it.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 25)
    out = tmp_path / "d"
    with emulator_process("--speed", "5", "--image-size", "64", "--sigma", "0") as emulator:
        words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--json")
        with started(*words) as run:
            wait_for_creates(emulator, 10)
            with on_terminal("watch", out) as seen:
                screen = seen.wait_for("10 of 10")
                assert seen.finish() == 0
            code = run.wait(60)
            told = json.loads((run.stdout.read() if run.stdout else "").splitlines()[-1])

    assert code == 0
    assert told["jobs"]["done"] == 25
    assert "watching" in screen
    assert "25 in all: 25 done" in seen.text


def test_where_nothing_runs_the_standing_is_told(tmp_path: Path) -> None:
    """
    Exit 0 and the words of `status`; no dataset at all is exit 2.
    """
    nowhere = fluxbatch("watch", tmp_path / "none")
    assert nowhere.code == 2
    assert "is no dataset" in nowhere.err

    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    with emulator_process("--speed", "50", "--image-size", "64") as emulator:
        words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url)
        assert fluxbatch(*words).code == 0
    after = fluxbatch("watch", tmp_path / "d")

    assert after.code == 0
    assert "no run is at work" in after.err
    assert "1 in all: 1 done" in after.out


def test_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """
    A run that begins at the moment somebody looks is not refused.
    """
    folder = Folder(tmp_path)
    with folder.lock():
        assert folder.is_locked()
    program = (
        "import sys; from pathlib import Path; from fluxbatch.dataset import Folder\n"
        "print('looking', flush=True)\n"
        "while True: Folder(Path(sys.argv[1])).is_held()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as looker:
        try:
            assert looker.stdout is not None
            looker.stdout.readline()
            for _ in range(200):
                with folder.lock():
                    pass
        finally:
            looker.kill()
