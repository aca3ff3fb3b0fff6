"""Where images are kept, and the dataset's folder as such a place: a file is there whole, or not.

Owns `images/` and `tmp/` below the dataset. Everything here blocks: call it through the
`blocking` seam. Any failure to write is a `SinkError` that names the path and what to do.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from fluxbatch.errors import SinkError
from fluxbatch.stems import IMAGES, is_stem, sidecar_path

TMP = "tmp"
_HALF = ".part"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "files may not grow that large here: raise the limit (ulimit -f) and run again",
    errno.EROFS: "the file system is read-only: make it writable or choose another folder",
    errno.EACCES: "this user may not write there: change its permissions or choose another folder",
    errno.EPERM: "this user may not write there: change its permissions or choose another folder",
    errno.ENOTDIR: "a file is where a folder must be: move it away or choose another folder",
    errno.EEXIST: "a file is where a folder must be: move it away or choose another folder",
    errno.EISDIR: "a folder is where that file must be: move it away and run again",
    errno.EXDEV: "tmp/ and images/ must be on one file system: link both elsewhere, or none",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) and run again",
}


class Written(NamedTuple):
    """A file that is durable under its final name."""

    path: str
    """Relative to the store, with forward slashes."""
    sha256: str
    bytes: int


class Landing(NamedTuple):
    """A verified file on its way to its name."""

    half: HalfFile
    stem: str
    extension: str
    sidecar: bytes | None = None
    """A `<stem>.json` to be there, whole, when the image is. It can be made again, so it needs
    no sync of its own: a power cut may cost it, `repair` writes it anew."""


class Images(Protocol):
    """A dataset's images as readers have them, by the ledger's paths (`images/...`). Blocks."""

    @property
    def address(self) -> str:
        """Where they are, for people: a folder or a URL."""
        ...

    def place(self, path: str) -> str:
        """Where one of them is, for people."""

    def file(self, path: str) -> Path | None:
        """Where it is on this machine; None where it is on another."""

    def open(self, path: str) -> IO[bytes]:
        """To be read. Raises `FileNotFoundError`, another `OSError` where this one alone cannot
        be read, `SinkError` where the store as a whole does not answer."""

    def has(self, path: str) -> bool:
        """Whether it is there."""
        ...

    def paths(self) -> Iterator[str]:
        """Of every file in `images/`; hidden ones are the system's own."""


class ImageStore(Images, Protocol):
    """Where a dataset's images are put. All of it blocks; a failure is a `SinkError`."""

    def claim(self, dataset: str) -> None:
        """Make sure, before anything is bought, that images of that dataset can be kept here.

        Raises `SinkError` where they cannot, `ConfigError` where others' are.
        """

    def begin(self) -> HalfFile:
        """A new temporary file, on this machine."""

    def keep(self, landings: Sequence[Landing]) -> list[Written | SinkError]:
        """Each under its name and durable when this returns, or why it is not; what is kept
        leaves no temporary file behind.

        A file of that name is replaced, and rightly: a name belongs to one output of one job, so
        what stands there is the same output, left by a crash before its ledger entry, or a
        corrupt one under repair.
        """

    def put_sidecar(self, path: str, content: bytes) -> None:
        """Write *content* to *path*, which is there whole or as it was before."""

    def remove(self, path: str) -> None:
        """Remove what the ledger does not name."""

    def discard(self, stem: str) -> int:
        """Remove the output of that name, whatever its type; how many files.

        For what a crash left without a ledger entry: it may come back as another type.
        """

    def sweep(self) -> int:
        """Remove what a killed process left half written; how many files.

        Only while this process holds the dataset.
        """

    def has_room(self, min_free: int) -> bool:
        """Whether at least *min_free* bytes are free for us."""


class LocalStore:
    """A local folder. Paths are texts here: this runs for every output, and `Path` is slow."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._made: set[str] = set()
        self._prefix = secrets.token_hex(4)
        self._numbers = count()

    @property
    def address(self) -> str:
        return str(Path(self._root, IMAGES))

    def place(self, path: str) -> str:
        return str(self.file(path))

    def file(self, path: str) -> Path:
        return Path(self._root, path)

    def open(self, path: str) -> IO[bytes]:
        return self.file(path).open("rb")

    def has(self, path: str) -> bool:
        return self.file(path).is_file()

    def paths(self) -> Iterator[str]:
        root = Path(self._root)
        for place, folders, names in os.walk(root / IMAGES):
            folders.sort()
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(place, name).relative_to(root).as_posix()

    def claim(self, dataset: str) -> None:
        """Nothing to make sure of: whoever holds the dataset's folder holds its images."""

    def begin(self) -> HalfFile:
        folder = f"{self._root}/{TMP}"
        self._make(folder)
        return HalfFile(f"{folder}/{self._prefix}{next(self._numbers):08x}{_HALF}")

    def sweep(self) -> int:
        swept = 0
        folder = Path(self._root, TMP)
        with _explained(folder):
            for path in folder.glob(f"*{_HALF}"):
                path.unlink(missing_ok=True)
                swept += 1
        return swept

    def discard(self, stem: str) -> int:
        check_stem(stem)
        removed = 0
        place = Path(self._root, IMAGES, stem)
        with _explained(place):
            for path in place.parent.glob(f"{place.name}.*"):
                if path.stem == place.name:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def has_room(self, min_free: int) -> bool:
        with _explained(self._root):
            return shutil.disk_usage(self._root).free >= min_free

    def keep(self, landings: Sequence[Landing]) -> list[Written | SinkError]:
        """One sync a folder, however many land in it."""
        kept = [self._land(landing) for landing in landings]
        try:
            landed = [self.place(one.path) for one in kept if isinstance(one, Written)]
            for folder in {path.rpartition("/")[0] for path in landed}:
                with _explained(folder):
                    _sync_folder(folder)
        except SinkError as exc:
            return [SinkError(*exc.args) if isinstance(one, Written) else one for one in kept]
        return kept

    def _land(self, landing: Landing) -> Written | SinkError:
        """Its bytes are durable and it has its name; the name is durable after the sync."""
        check_stem(landing.stem)
        relative = f"{IMAGES}/{landing.stem}.{landing.extension}"
        final = f"{self._root}/{relative}"
        try:
            self._make(final.rpartition("/")[0])
            if landing.sidecar is not None:
                self.put_sidecar(sidecar_path(relative), landing.sidecar)
            return landing.half.rename(final, relative)
        except SinkError as exc:
            return exc

    def put_sidecar(self, path: str, content: bytes) -> None:
        half = self.begin()
        try:
            half.write(content)
            half.rename(f"{self._root}/{path}", path, sync=False)
        except SinkError:
            half.discard()
            raise

    def remove(self, path: str) -> None:
        with _explained(self.file(path)):
            self.file(path).unlink(missing_ok=True)

    def _make(self, folder: str) -> None:
        """A folder, so that it is still there after a power loss."""
        if folder in self._made:
            return
        with _explained(folder):
            missing = [f for f in (Path(folder), *Path(folder).parents) if not f.exists()]
            os.makedirs(folder, exist_ok=True)
            for made in missing:
                _sync_folder(str(made.parent))
        self._made.add(folder)


class HalfFile:
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

    def rename(self, final: str, relative: str, *, sync: bool = True) -> Written:
        """It has its name *final*, which is *relative* to the users; its bytes are durable but
        for *sync*."""
        with _explained(final):
            if sync:
                os.fsync(self._open())
            self._close()
            os.replace(self._path, final)
        return Written(relative, self._digest.hexdigest(), self._bytes)

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


def check_stem(stem: str) -> None:
    """Raise `ValueError` unless *stem* is a plain relative name that stays in its folder."""
    if not is_stem(stem):
        raise ValueError(f"{stem!r} is no plain relative name")


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        code = exc.errno or 0
        remedy = _REMEDIES.get(code, f"{exc.strerror or exc}: check the disk and run again")
        raise SinkError(f"cannot write {str(path)!r}: {remedy}") from exc
