"""Watching a run from another terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from fluxbatch.dataset import Folder
from tests.integration.test_cli_run import write_manifest
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process


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
            screen = _on_a_terminal("watch", out)
            code = run.wait(60)
            told = json.loads((run.stdout.read() if run.stdout else "").splitlines()[-1])

    assert code == 0
    assert told["jobs"]["done"] == 25
    assert "watching" in screen
    assert "10 of 10" in screen
    assert "25 in all: 25 done" in screen


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
    with folder.held():
        assert folder.is_held()
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
                with folder.held():
                    pass
        finally:
            looker.kill()


def _on_a_terminal(*words: object) -> str:
    """What a command draws on a terminal of 80 columns, to its end."""
    parent, child = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=child, stderr=child, env=environ,
    ) as process:  # fmt: skip
        os.close(child)
        drawn = b""
        end = time.monotonic() + 60
        while time.monotonic() < end and select.select([parent], [], [], 60)[0]:
            try:
                drawn += os.read(parent, 65_536)
            except OSError:  # the terminal's other end is closed
                break
        if process.poll() is None:
            process.kill()
    os.close(parent)
    return drawn.decode()
