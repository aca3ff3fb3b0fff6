"""A temporary file on its way to a name: written, hashed, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from fluxbatch.errors import SinkError

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "files may not grow that large here: raise the limit (ulimit -f) and run again",
    errno.EROFS: "the file system is read-only: make it writable or choose another folder",
    errno.ENOENT: "the folder is gone: where the dataset was renamed, run again with its new name",
    errno.EACCES: "this user may not write there: change its permissions or choose another folder",
    errno.EPERM: "this user may not write there: change its permissions or choose another folder",
    errno.ENOTDIR: "a file is where a folder must be: move it away or choose another folder",
    errno.EEXIST: "a file is where a folder must be: move it away or choose another folder",
    errno.EISDIR: "a folder is where that file must be: move it away and run again",
    errno.EXDEV: "tmp/ and images/ must be on one file system: mount the whole dataset elsewhere",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) and run again",
}


class WrittenFile(NamedTuple):
    """A file that is durable under its final name."""

    path: str
    """Relative to the store, with forward slashes."""
    sha256: str
    bytes: int


class TempFile:
    """A file on its way: hashed as it is written, invisible until it is kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._bytes = 0
        with _explained(path):
            self._handle: int | None = os.open(path, _NEW, 0o666)

    def write(self, block: bytes) -> None:
        self._digest.update(block)
        self._bytes += len(block)
        rest = memoryview(block)
        with _explained(self._path):
            while rest:
                rest = rest[os.write(self._open(), rest) :]

    def written(self) -> IO[bytes]:
        """Everything written so far, to be read; nothing may be written after it."""
        with _explained(self._path):
            os.lseek(self._open(), 0, os.SEEK_SET)
            return open(self._open(), "rb", closefd=False)

    @property
    def sha256(self) -> str:
        """Of everything written so far."""
        return self._digest.hexdigest()

    @property
    def bytes(self) -> int:
        return self._bytes

    def rename(self, final: str, relative: str, *, sync: bool = True) -> WrittenFile:
        """It has its name *final*, which is *relative* to the users; its bytes are durable but
        for *sync*."""
        with _explained(final):
            if sync:
                os.fsync(self._open())
            self._close()
            os.replace(self._path, final)
        return WrittenFile(relative, self._digest.hexdigest(), self._bytes)

    def discard(self) -> None:
        """Leave nothing behind. Never raises: what stays is the next `sweep`'s."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            os.unlink(self._path)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError(f"{self._path!r} is closed")
        return self._handle

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        code = exc.errno or 0
        remedy = _REMEDIES.get(code, f"{exc.strerror or exc}: check the disk and run again")
        raise SinkError(f"cannot write {str(path)!r}: {remedy}") from exc
