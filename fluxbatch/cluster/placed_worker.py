"""One placed worker: an actor that starts a command on its node and waits for its end.

Owns that process and its last words. It knows nothing of jobs and money: the ledger decides who
may buy, so a worker that Ray starts again, or starts twice, costs nothing. The command has the
environment that its node gave to Ray; none comes with the actor. As a program it is that command,
which leaves when its actor is gone.
Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")

STARTED_WITHIN_S = 600.0
"""Whoever placed it and has not started it by then is gone."""
_STAYS_S = 60.0
"""After the command's end, for who asks how it ended."""
_LAST_LINES = 12


class WorkerEnd(NamedTuple):
    """How a worker's command ended."""

    code: int
    last_lines: tuple[str, ...]


class PlacedWorker:
    """An actor; Ray calls its methods one after the other."""

    def __init__(self, words: Sequence[str], cwd: str) -> None:
        import ray

        self._command = [sys.executable, "-P", "-m", __name__, str(os.getpid()), *words]
        self._cwd = cwd
        self._context = ray.get_runtime_context()
        self._started = threading.Event()
        self._is_stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._end: WorkerEnd | None = None
        self._keeper = threading.Thread(target=self._keep, name="fluxbatch-command", daemon=True)
        self._keeper.start()
        if self._had_a_life():  # which was checked and started
            self.start()

    def node_id(self) -> str:
        return str(self._context.get_node_id())

    def call(self, function: Callable[..., _T], *args: object) -> _T:
        """What *function* says of this node."""
        return function(*args)

    def start(self) -> None:
        """Start the command, once."""
        self._started.set()

    def stop(self) -> None:
        """The command buys no more and leaves, as by Ctrl-C."""
        self._is_stopped = True
        if self._process is None:
            self._started.set()
        else:
            self._process.send_signal(signal.SIGINT)

    def is_started(self) -> bool:
        return self._started.is_set()

    def end(self) -> WorkerEnd | None:
        """None while the command goes on."""
        return self._end

    def _had_a_life(self) -> bool:
        """Whether Ray has lost this actor and makes it once more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's answer warns of how Ray finds it
            return bool(self._context.was_current_actor_reconstructed)

    def _keep(self) -> None:
        """The command's life, in a thread of its own."""
        if self._started.wait(STARTED_WITHIN_S) and not self._is_stopped:
            code, last_lines = self._run()
            if code < 0 and not self._is_stopped:  # killed from outside: by who needed its memory
                os._exit(1)  # Ray starts the actor again
            self._end = WorkerEnd(code, last_lines)
        else:
            self._end = WorkerEnd(-signal.SIGINT, ())
        time.sleep(_STAYS_S)
        self._leave()

    def _run(self) -> tuple[int, tuple[str, ...]]:
        last: deque[str] = deque(maxlen=_LAST_LINES)
        try:
            self._process = process = subprocess.Popen(
                self._command, cwd=self._cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            return 1, (f"cannot start in {self._cwd!r}: {exc}",)
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            sys.stdout.write(line)  # Ray's log of this worker, which its dashboard shows
            sys.stdout.flush()
        return process.wait(), tuple(last)

    def _leave(self) -> None:
        """The actor ends and frees its CPU."""
        import ray

        actor: Any = self._context.current_actor
        ray.kill(actor, no_restart=True)


def _become_the_command(actor: int, words: Sequence[str]) -> None:
    """Be `fluxbatch` from here on, told to leave when the process *actor* ends, however it does."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's threads hear no signals, nor would this
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)
    if os.getppid() == actor:  # else it ended before that could be told
        os.execv(sys.executable, [sys.executable, "-P", "-m", "fluxbatch", *words])


if __name__ == "__main__":
    _become_the_command(int(sys.argv[1]), sys.argv[2:])
