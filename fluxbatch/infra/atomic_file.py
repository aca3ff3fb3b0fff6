"""Atomic files: each has its name only when it is whole and on the disk.

Owns the order that a power loss cannot break: written beside, synced, renamed. What a file is
called and what is said where it cannot be written is for whoever writes it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Self

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_BUFFER_BYTES = 1 << 16
_SEND_ON = getattr(os, "POSIX_FADV_DONTNEED", None)
"""What has a file's bytes written, without waiting for them; not everywhere."""


class AtomicFile:
    """A new file on its way: hashed as it is written, without its name until it is committed.

    Used as a context it is gone again unless it is kept. Up to *buffer* bytes of small blocks wait
    for more. Raises `OSError`. Paths are texts here: this runs for every output, and `Path` is
    slow.
    """

    def __init__(self, path: Path | str, *, mode: int = 0o666, buffer: int = 0) -> None:
        self.path = os.fspath(path)
        self.size = 0
        self._digest = hashlib.sha256()
        self._buffer = buffer
        self._waiting = bytearray()
        self._is_kept = False
        self._handle: int | None = os.open(self.path, _NEW, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:
            self.discard()

    @property
    def sha256(self) -> str:
        """Of everything written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> int:
        self._digest.update(block)
        self.size += len(block)
        if len(self._waiting) + len(block) <= self._buffer:
            self._waiting += block
        else:
            self._flush()
            self._put(block)
        return len(block)

    def written(self) -> IO[bytes]:
        """Everything written so far, to be read; nothing may be written after it."""
        self._flush()
        os.lseek(self._open(), 0, os.SEEK_SET)
        return open(self._open(), "rb", closefd=False)

    def begin_sync(self) -> None:
        """Its bytes are on their way to the disk: several files, begun together before the first is
        made durable, take little longer than one."""
        self._flush()
        if _SEND_ON is not None:
            with suppress(OSError):  # a hint: what matters is said by `make_durable`
                os.posix_fadvise(self._open(), 0, 0, _SEND_ON)

    def make_durable(self) -> None:
        """Its bytes are durable; it has no name yet."""
        self._flush()
        os.fsync(self._open())

    def finish(self) -> None:
        """It is whole, and stays where it is: its bytes are durable, the name is not yet."""
        self._end(sync=True)
        self._is_kept = True

    def commit(self, final: Path | str, *, sync: bool = True, mtime_s: float | None = None) -> None:
        """It is whole: give it its name, on the same disk. What had that name is replaced.

        Its bytes are durable but for *sync*; the name is once its folder is synced.
        """
        self._end(sync=sync)
        if mtime_s is not None:
            os.utime(self.path, (mtime_s, mtime_s))
        os.replace(self.path, final)
        self._is_kept = True

    def discard(self) -> None:
        """Leave nothing behind. Never raises: what stays is for whoever sweeps the folder."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            os.unlink(self.path)

    def _end(self, *, sync: bool) -> None:
        if sync:
            self.make_durable()
        else:
            self._flush()
        self._close()

    def _flush(self) -> None:
        if self._waiting:
            self._put(self._waiting)
            self._waiting = bytearray()

    def _put(self, block: bytes | bytearray) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._open(), rest) :]

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError(f"{self.path!r} is closed")
        return self._handle

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def atomic_file(folder: Path) -> AtomicFile:
    """A new file in *folder*, under a name of its own until it is committed; raises `OSError`."""
    return AtomicFile(folder / f"{secrets.token_hex(8)}.part", buffer=_BUFFER_BYTES)


def sync(path: Path | str) -> None:
    """A file's bytes, or what was renamed in a folder, stay so after a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename_durably(path: Path, final: Path) -> None:
    """Give what is whole and synced its name, which stays after a power loss."""
    os.replace(path, final)
    sync(final.parent)


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; one that is not there where none can be made.

    So only what really needs it fails, naming it.
    """
    try:
        place = TemporaryDirectory(prefix="fluxbatch-")
    except OSError:
        yield Path(os.environ.get("TMPDIR") or "/tmp", "fluxbatch")
        return
    with place as path:
        yield Path(path)
