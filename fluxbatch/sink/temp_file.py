"""The temporary files of a store, and what a disk that refuses means to users."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from fluxbatch.errors import SinkError
from fluxbatch.infra.atomic_file import AtomicFile

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


class TempFile(AtomicFile):
    """A file on its way into a store: what the disk refuses is a `SinkError` with its remedy."""

    def __init__(self, path: str) -> None:
        with disk_errors(path):
            super().__init__(path)

    def write(self, block: bytes) -> int:
        with disk_errors(self.path):
            return super().write(block)

    def written(self) -> IO[bytes]:
        with disk_errors(self.path):
            return super().written()

    def begin_sync(self) -> None:
        with disk_errors(self.path):
            super().begin_sync()

    def make_durable(self) -> None:
        with disk_errors(self.path):
            super().make_durable()

    def rename(self, final: str, relative: str, *, sync: bool = True) -> WrittenFile:
        """It has its name *final*, which is *relative* to the users; its bytes are durable but
        for *sync*."""
        with disk_errors(final):
            self.commit(final, sync=sync)
        return WrittenFile(relative, self.sha256, self.size)


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """An `OSError` becomes a `SinkError` that names *path* and the remedy."""
    try:
        yield
    except OSError as exc:
        code = exc.errno or 0
        remedy = _REMEDIES.get(code, f"{exc.strerror or exc}: check the disk and run again")
        raise SinkError(f"cannot write {str(path)!r}: {remedy}") from exc
