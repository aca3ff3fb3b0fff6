"""A lock on an open file, which dies with its holder.

Owns how it is taken without waiting, and how its holder signs the file. What is said to whoever
comes too late, and whether to try again, is for whoever takes it.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from typing import IO, Any


def take(lock: IO[Any], *, shared: bool = False) -> bool:
    """Take the lock at once, or answer that another holds it."""
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(lock: IO[Any]) -> None:
    """Give the lock back, and leave the file open."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def sign(lock: IO[str], holder: Mapping[str, object]) -> None:
    """Write into the file who holds it, in the place of who did before."""
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps(holder))
    lock.flush()


def holder_of(lock: IO[str], words: str) -> str:
    """Who holds the lock, in *words* like `pid {pid}`, as far as the file says it."""
    lock.seek(0)
    text = lock.read()
    try:
        return words.format_map(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return "another process"
