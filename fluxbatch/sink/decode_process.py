"""Images decoded in a process that can be stopped: bounded in memory and in time.

Owns both ends of the pipe and the processes, which serve one image after another and end with
their pipe. A decoder that takes too long, needs too much or crashes takes nothing else with it, and
its warnings reach no terminal. What an image is worth is `verify`'s to say.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from fluxbatch.infra.child_process import end_child

CPU_S = 15
"""Seconds of a processor that one image may take: 100 megapixels of avif take about five."""
TOO_LARGE = "needs more memory than an image of its size"
_WALL_S = 120.0
_MAX_ANSWER_BYTES = 100_000
_IDLE_KEPT = 2


@dataclass(frozen=True, slots=True)
class DecodeAnswer:
    """What the other process found; one of the two."""

    found: dict[str, Any] | None = None
    failure: str = ""
    is_final: bool = False
    """The image itself is at fault, by what it would cost: nothing to try again."""


class DecodeProcess:
    """One child, and this end of its pipes."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-W", "ignore", "-m", "fluxbatch.sink.decode_child"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def ask(self, request: dict[str, Any], content: bytes) -> DecodeAnswer:
        """What it makes of *content*; after a failure it is not to be used again."""
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        head = json.dumps({**request, "bytes": len(content)}).encode() + b"\n"
        try:
            child.stdin.write(head)
            child.stdin.write(content)
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], _WALL_S)
            line = child.stdout.readline(_MAX_ANSWER_BYTES) if ready else None
        except OSError:
            line = b""
        if line is None:
            return DecodeAnswer(failure=f"it took longer than {_WALL_S:g} s")
        if not line.endswith(b"\n"):
            child.kill()
            if child.wait() == -signal.SIGXCPU:
                most_s = request.get("cpu_s", CPU_S)
                return DecodeAnswer(
                    failure=f"it takes longer than {most_s} s to decode", is_final=True
                )
            return DecodeAnswer(failure="its decoder broke off")
        told = json.loads(line)
        return DecodeAnswer(told.get("found"), told.get("failure", ""), told.get("is_final", False))

    def kill(self) -> None:
        """Whatever it does; who waits for it clears up."""
        self._child.kill()

    def end(self) -> None:
        """Whatever it does."""
        end_child(self._child)


class DecodeProcesses:
    """Those at work, one for each thread that asks, and a few that wait for work."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a fork: they are the parent's."""
        self._idle: list[DecodeProcess] = []
        self._busy: set[DecodeProcess] = set()
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], content: bytes) -> DecodeAnswer:
        """Blocks."""
        with self._lock:
            one = self._idle.pop() if self._idle else DecodeProcess()
            self._busy.add(one)
        answer = one.ask(request, content)
        with self._lock:
            self._busy.discard(one)
            if answer.found is not None and len(self._idle) < _IDLE_KEPT:
                self._idle.append(one)
                return answer
        one.end()
        return answer

    @property
    def at_work(self) -> int:
        """How many decode at this moment."""
        return len(self._busy)

    def end(self) -> None:
        """Of all, whatever they do: whoever waits for one has its answer at once. Later asked,
        there are new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
            for one in self._busy:
                one.kill()
        for one in idle:
            one.end()


processes = DecodeProcesses()
"""Of this process. They end with it: their pipe does."""
atexit.register(processes.end)
os.register_at_fork(after_in_child=processes.forget)
