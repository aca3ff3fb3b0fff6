"""The process of one hook, and this end of its pipes.

Owns that it can be ended, whatever it does: it and all that it started, in bounded time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from fluxbatch.dataset.folder import Folder

_MAX_ANSWER_BYTES = 100_000


class HookAnswer(NamedTuple):
    """What became of one call."""

    failure: str
    """Empty: nothing went wrong."""
    is_broken: bool = False
    """Its process is of no more use."""


class HookProcess:
    """One child, and this end of its pipes."""

    def __init__(self, process: Process, timeout_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.why_not_loaded = ""
        self._process = process
        self._requests = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)
        self._timeout_s = timeout_s

    async def load(self) -> None:
        """Wait until it says that it can be called, or why not."""
        self.why_not_loaded = (await self._answer()).failure

    async def call(self, path: str) -> HookAnswer:
        """Call it with one image; it is ended where it takes too long."""
        with suppress(OSError, anyio.BrokenResourceError):  # the missing answer says it
            await self._requests.send(json.dumps({"path": path}).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> HookAnswer:
        with anyio.move_on_after(self._timeout_s):
            try:
                line = await self._answers.receive_until(b"\n", _MAX_ANSWER_BYTES)
            except (anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.ClosedResourceError):
                code = await self._process.wait()
                how = f"by signal {-code}" if code < 0 else f"with exit {code}"
                return HookAnswer(f"its process ended {how}", is_broken=True)
            return HookAnswer(json.loads(line)["failure"])
        return HookAnswer(
            f"it took longer than {self._timeout_s:g} s (hooks.timeout)", is_broken=True
        )

    def kill(self) -> None:
        """It and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


@asynccontextmanager
async def hook_process(name: str, folder: Folder, timeout_s: float) -> AsyncIterator[HookProcess]:
    """The hook in a process of its own, loaded; what it prints is added to `DIR/hooks/NAME.log`."""
    command = [sys.executable, "-P", "-m", "fluxbatch.engine.hooks.child", name]
    address = folder.lasting_address
    log = _open_log(folder.root / "hooks", name)
    try:
        process = await anyio.open_process([*command, address], stderr=log, start_new_session=True)
    finally:
        os.close(log)
    child = HookProcess(process, timeout_s)
    try:
        await child.load()
        yield child
    finally:
        child.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


def _open_log(place: Path, name: str) -> int:
    """Where it cannot be written, nowhere: a log is no reason to lose a hook."""
    try:
        place.mkdir(exist_ok=True)
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.open(place / f"{name}.log", how, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
