"""A run in the background: begun, waited for until it is at work, and left alone.

Owns the process that goes on without a terminal. What it says is added to `run.log` in the
dataset, which its owner alone can read.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fluxbatch.cli.console import Console
from fluxbatch.dataset.control_client import control
from fluxbatch.dataset.folder import RUN_LOG, Folder
from fluxbatch.errors import FluxbatchError

_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 0.5
"""The same, where each look is a connection to a server."""


def run_detached(console: Console, folder: Folder, words: Sequence[str]) -> int:
    """Begin `fluxbatch` with *words* and answer once it is at work; its exit code where it ended
    before that. Raises `HeldElsewhere` where another process has the dataset."""
    folder.make()
    if not folder.is_shared:
        with folder.lock():  # where a run has it, this one is refused here: the log is that run's
            pass
    path = folder.root / RUN_LOG
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "r+b") as log:
        begun_at = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "fluxbatch", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        run_id = _at_work(folder, process)
        code = process.returncode
        if code:
            log.seek(begun_at)
            console.warn(log.read().decode(errors="replace").rstrip())
    line = f"run {run_id} is at work (pid {process.pid}):  fluxbatch watch {folder.typed}"
    answer = {"run_id": run_id, "pid": process.pid, "log": str(path), "exit": code}
    console.answer(lambda: answer, [line if run_id else f"the run has ended: exit {code}"])
    return code or 0


def _at_work(folder: Folder, process: subprocess.Popen[bytes]) -> str | None:
    """The run's id, once it takes commands; None where the process ended before that."""
    while process.poll() is None:
        try:
            told = control(folder, "show")
        except FluxbatchError:
            told = {}
        if _is_among(told, process.pid):
            return str(told["run_id"])
        time.sleep(_ASK_EVERY_S if folder.is_shared else _LOOK_EVERY_S)
    return None


def _is_among(told: Mapping[str, Any], pid: int) -> bool:
    """Whether that process of this machine is at work, perhaps beside others."""
    if told.get("pid") == pid:
        return True
    here = {"host": socket.gethostname(), "pid": pid}
    return any(here.items() <= worker.items() for worker in told.get("workers", ()))
