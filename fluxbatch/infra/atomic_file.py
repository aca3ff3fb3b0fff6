"""Atomic files: each has its name only when it is whole and on the disk.

Owns the order that a power loss cannot break: written beside, synced, renamed; and the opening of
files that a stranger may have put there. What a file is called and what is said where it cannot
be written is for whoever writes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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


def sync(path: Path) -> None:
    """A file's bytes, or what was renamed in a folder, stay so after a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_regular(path: Path | str, *, follows_links: bool = True) -> BinaryIO:
    """A file to be read that has an end; raises `OSError`, for pipes and devices as well.

    Without *follows_links* a link in the place of the file is an error (ELOOP).
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe without a writer would not open
    handle = os.open(path, how if follows_links else how | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has that name now, whatever it was called before; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
