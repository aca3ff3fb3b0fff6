"""The command line as users meet it: a process, its two streams, its exit code.

Imports are most of a short command's time, so `fluxbatch` forks its processes from one that has
made them already; `started` pays for a fresh interpreter and streams that can be read meanwhile.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "sk-test-7f3a9c51d2e8"

_PRELOADED = (
    "app",
    "demo_run",
    "foreground_run",
    "render.keys",
    "render.plan",
    "render.retry",
    "render.status",
    "source",
)
_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload([f"fluxbatch.cli.{module}" for module in _PRELOADED])


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object that ends stdout."""
        told: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return told


def fluxbatch(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: int = 60
) -> Ended:
    """Run one command to its end in a process of its own, with `KEY` as the key."""
    with tempfile.TemporaryDirectory() as place:
        streams = [Path(place, name) for name in ("out", "err")]
        where = str(cwd or Path.cwd())
        arguments = ([str(word) for word in words], _environment(env), where, streams)
        process = _warm.Process(target=_command, args=arguments)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        out, err = (stream.read_text() if stream.exists() else "" for stream in streams)
    assert process.exitcode is not None
    assert process.exitcode >= 0, f"killed by signal {-process.exitcode}, or too slow: {err}"
    return Ended(process.exitcode, out, err)


@contextmanager
def started(
    *words: object, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command under way; killed at the end of the block if it still is."""
    with subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", *map(str, words)],
        env=_environment(env) | {"PYTHONWARNINGS": "error"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _command(words: list[str], env: dict[str, str], cwd: str, streams: list[Path]) -> None:
    """In the new process: what `python -m fluxbatch` would do."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for descriptor, stream in zip((1, 2), streams, strict=True):
        with stream.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    warnings.simplefilter("error")
    from fluxbatch.cli import main

    sys.exit(main(words))


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "EACHLABS_API_KEY": KEY, **(more or {})}
