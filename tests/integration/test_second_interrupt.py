"""The second Ctrl-C leaves at once, whatever is being decoded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anyio
from anyio.abc import Process

from fluxbatch.errors import ExitCode
from tests.emulator.support import until
from tests.support.bombs import jpg_of_scans
from tests.support.commands import KEY
from tests.support.meddler import Passing, meddler
from tests.support.running import Bench, make_rows, provider


async def told(process: Process, words: bytes) -> None:
    """Until it has said so: two signals at once are one."""
    assert process.stderr is not None
    heard = b""
    with anyio.fail_after(10):
        while words not in heard:
            heard += await process.stderr.receive()


def has_child(pid: int) -> bool:
    return any(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))


SLOW = jpg_of_scans(95, 9_000, is_flat=True)
"""Half a megabyte that takes five seconds of a processor."""


async def test_a_run_that_decodes_leaves_within_a_second_of_the_second_interrupt(
    tmp_path: Path,
) -> None:
    """
    And what was paid for is there to be fetched by the next run.
    """
    downloads = 0

    def slow(answer: Passing) -> Passing:
        nonlocal downloads
        downloads += answer.is_file
        return replace(answer, body=SLOW) if answer.is_file else answer

    bench = Bench(tmp_path)
    async with provider() as emulator, meddler(emulator.base_url, slow) as base_url:
        words = ["run", str(bench.write(make_rows(4))), "--out", str(bench.out)]
        command = [sys.executable, "-m", "fluxbatch", *words, "--base-url", base_url]
        env = {**os.environ, "EACHLABS_API_KEY": KEY, "XDG_STATE_HOME": str(tmp_path / "state")}
        process = await anyio.open_process(
            command, env=env, stdin=subprocess.DEVNULL, stdout=None, stderr=subprocess.PIPE
        )
        async with process:
            await until(lambda: downloads >= 4)
            await until(lambda: has_child(process.pid))  # one is decoded
            process.send_signal(signal.SIGINT)
            await told(process, b"Ctrl-C again leaves at once")
            began_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            code = await process.wait()
            took_s = time.monotonic() - began_s
        assert code == ExitCode.INTERRUPTED
        assert took_s < 2.0  # one, and what a busy machine adds
        assert bench.query("SELECT count(*) FROM outputs WHERE state = 'wanted'")[0][0] == 4
