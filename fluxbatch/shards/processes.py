"""Shards over several processes of this machine.

Owns the processes, which are begun when first needed, and both ends of their pipes. They read no
terminal and get none of its signals: they end with their pipe, at once, so also where this process
is killed. One that dies is replaced and its shard tried once more.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, Self, TypeVar

from fluxbatch.errors import ConfigError
from fluxbatch.infra.child_process import end_child
from fluxbatch.shards.pool import INLINE, ShardLost, ShardPool
from fluxbatch.shards.requests import request_for, result_of

_S = TypeVar("_S")
_R = TypeVar("_R")
_LENGTH = struct.Struct("!Q")
_TRIES = 2
_MOST = 256


class _Ended(Exception):
    """A child is gone before it answered; says how."""


def process_count(given: int | str, name: str = "--processes") -> int:
    """How many processes *given* means: a number, or `auto` for one a core.

    Raises `ConfigError` naming *name*.
    """
    if given == "auto":
        return min(_cores(), _MOST)
    try:
        number = int(given) if isinstance(given, str) and given.isascii() else given
    except ValueError:
        number = 0
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MOST:
        raise ConfigError(f"{name} {given!r}: write a number from 1 to {_MOST}, or auto")
    return number


def process_pool(given: int | str) -> ShardPool:
    """As many processes as *given* means (`process_count`), none but this one where that is 1."""
    count = process_count(given)
    return ProcessPool(count) if count > 1 else INLINE


def write_frame(stream: IO[bytes], value: bytes) -> None:
    """One value into a pipe."""
    stream.write(_LENGTH.pack(len(value)))
    stream.write(value)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next one; None where the pipe has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    value = stream.read(length)
    return value if len(value) == length else None


class ProcessPool:
    """*count* processes at most, one for each thread that asks."""

    is_inline = False
    is_elsewhere = False

    def __init__(self, count: int) -> None:
        self.at_once = count
        self._free = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._interrupts = 0

    def ask(self, work: Callable[[_S], _R], shard: _S) -> _R:
        request = request_for(work, shard)
        interrupts = self._interrupts
        how = ""
        with self._free:
            for _ in range(_TRIES):
                try:
                    answer: _R = self._ask(request, interrupts)
                except _Ended as exc:
                    how = str(exc)
                else:
                    return answer
        raise ShardLost(
            f"a process at work on this {how}, and so did the next one; if memory is short, use"
            " fewer --processes; what is finished stays, run it again"
        )

    def everywhere(self, work: Callable[[_S], _R], shard: _S) -> list[tuple[str, _R]]:
        return []

    def interrupt(self) -> None:
        with self._lock:
            self._interrupts += 1
            for child in self._busy:
                child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _ask(self, request: bytes, interrupts: int) -> Any:
        with self._lock:
            if self._interrupts != interrupts:
                raise ShardLost("the work was interrupted")
            child = self._idle.pop() if self._idle else _Child()
            self._busy.add(child)
        is_whole = False
        try:
            answer = child.ask(request)
            is_whole = True
        finally:
            with self._lock:
                self._busy.discard(child)
                if is_whole:
                    self._idle.append(child)
            if not is_whole:
                child.end()
        return result_of(answer)


class _Child:
    """One process, and this end of its pipes."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-W", "ignore", "-m", "fluxbatch.shards.child"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._is_told = False

    def ask(self, request: bytes) -> bytes:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not self._is_told:
                write_frame(process.stdin, pickle.dumps(sys.path))
                self._is_told = True
            write_frame(process.stdin, request)
            answer = read_frame(process.stdout)
        except OSError:
            answer = None
        if answer is None:
            process.kill()
            code = process.wait()
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit {code}"
            raise _Ended(how)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        end_child(self._process)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1
