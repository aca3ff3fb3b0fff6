"""Atomic files: each has its name only when it is whole and on the disk.

Owns the order that a power loss cannot break: written beside, synced, renamed. What a file is
called and what is said where it cannot be written is for whoever writes it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class AtomicFile:
    """A file on its way; made by `atomic_file`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> None:
        self._digest.update(block)
        self._file.write(block)
        self.size += len(block)

    def commit(self, path: Path, *, mtime_s: float | None = None) -> Path:
        """It is whole: give it its name, in the same folder. What had that name is replaced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if mtime_s is not None:
            os.utime(self._path, (mtime_s, mtime_s))
        return self._path.replace(path)


@contextmanager
def atomic_file(place: Path) -> Iterator[AtomicFile]:
    """A new file in the folder *place*, gone again unless it is kept; raises `OSError`."""
    path = place / f"{secrets.token_hex(8)}.part"
    try:
        with path.open("xb") as file:
            yield AtomicFile(path, file)
    finally:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """A file's bytes, or what was renamed in a folder, stay so after a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
