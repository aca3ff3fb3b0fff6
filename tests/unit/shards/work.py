"""Work for other processes to do: it waits, fails and dies on demand."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

from fluxbatch.errors import ConfigError


class OddError(Exception):
    """One that cannot be made again from what it was made of."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


class Pipe(NamedTuple):
    """A named pipe, and whether to wait for it or to open it for who waits."""

    path: Path
    is_waited_for: bool


def double(number: int) -> int:
    os.write(1, b"work may print\n")
    return 2 * number


def meet(pipe: Pipe) -> bool:
    """Both sides get on only if they are at work at the same time."""
    with pipe.path.open("rb" if pipe.is_waited_for else "wb"):
        return pipe.is_waited_for


def wait_for_ever(pids: Path) -> None:
    """Leaves its process's number in the pipe *pids*."""
    pids.write_text(f"{os.getpid()}\n")
    signal.pause()


def die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> int:
    if number == 2:
        raise ConfigError("no twos")
    return number


def fail_oddly(_: int) -> None:
    raise OddError("odd", "very")


def refuse_or_wait(place: Path) -> None:
    """A pipe is waited with; anything else is refused."""
    if place.is_fifo():
        wait_for_ever(place)
    raise ConfigError("it is no pipe")
