"""The image store in the dataset's own folder.

Owns `images/` and `tmp/` below the dataset. Everything here blocks: call it through the
`to_thread` seam.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, TypeVar

from fluxbatch.domain.filenames import IMAGES, sidecar_path
from fluxbatch.errors import SinkError
from fluxbatch.infra.atomic_file import sync
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.sink.paths import (
    PathRefused,
    leads_elsewhere,
    refuse_elsewhere,
    refuse_link,
    resolved,
    written_path,
)
from fluxbatch.sink.store import CONTROLS, PendingFile, check_stem
from fluxbatch.sink.temp_file import TempFile, WrittenFile, disk_errors

TMP = "tmp"
_HALF = ".part"

_Done = TypeVar("_Done")


class LocalStore:
    """A local folder. Paths are texts here: this runs for every output, and `Path` is slow.

    What is read may be a link that stays within the dataset (as git-annex leaves them); folders
    that are written to are no links at all.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._made: set[str] = set()
        self._prefix = secrets.token_hex(4)
        self._numbers = count()

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which has its own names for what is half written."""
        return LocalStore, (Path(self._root),)

    @property
    def address(self) -> str:
        return str(Path(self._root, IMAGES))

    def place(self, path: str) -> str:
        try:
            return resolved(self._root, path)
        except PathRefused as exc:
            return f"{path!r} (refused: {exc.strerror})"

    def file(self, path: str) -> Path | None:
        try:
            return Path(resolved(self._root, path))
        except PathRefused:
            return None

    def open(self, path: str) -> IO[bytes]:
        return open_regular(resolved(self._root, path))

    def has(self, path: str) -> bool:
        try:
            return os.path.isfile(resolved(self._root, path))
        except PathRefused:
            return False

    def paths(self) -> Iterator[str]:
        root = Path(self._root)
        if (root / IMAGES).is_symlink():
            return
        for place, folders, names in os.walk(root / IMAGES):
            folders.sort()
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(place, name).relative_to(root).as_posix()

    def claim(self, dataset: str) -> None:
        """Whoever holds the dataset's folder holds its images, if they are in it."""
        for name in (IMAGES, TMP):
            refuse_link(f"{self._root}/{name}")

    def begin(self) -> TempFile:
        folder = f"{self._root}/{TMP}"
        self._make(folder)
        return TempFile(f"{folder}/{self._prefix}{next(self._numbers):08x}{_HALF}")

    def sweep(self) -> int:
        swept = 0
        folder = Path(self._root, TMP)
        refuse_link(str(folder))
        with disk_errors(folder):
            for path in folder.glob(f"*{_HALF}"):
                path.unlink(missing_ok=True)
                swept += 1
        return swept

    def discard(self, stem: str) -> int:
        check_stem(stem)
        removed = 0
        place = Path(self._root, IMAGES, stem)
        if leads_elsewhere(self._root, str(place.parent)):
            return 0
        with disk_errors(place):
            for path in place.parent.glob(f"{place.name}.*"):
                if path.stem == place.name:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def has_room(self, min_free: int) -> bool:
        with disk_errors(self._root):
            return shutil.disk_usage(self._root).free >= min_free

    def keep(self, landings: Sequence[PendingFile]) -> list[WrittenFile | SinkError]:
        """All are made durable before the first has its name, and each folder after the last: a
        name given in between would have the disk begin anew."""
        failed: dict[int, SinkError] = {}
        _each(landings, self._begin, failed)
        _each(landings, lambda landing: landing.half.make_durable(), failed)
        named = _each(landings, self._name, failed)
        try:
            for folder in {f"{self._root}/{one.path}".rpartition("/")[0] for one in named.values()}:
                with disk_errors(folder):
                    sync(folder)
        except SinkError as exc:
            failed |= {number: SinkError(*exc.args) for number in named}
        return [failed.get(number) or named[number] for number in range(len(landings))]

    def _begin(self, landing: PendingFile) -> None:
        """Its sidecar is there, and its bytes are on their way."""
        check_stem(landing.stem)
        relative = _path(landing)
        self._make(f"{self._root}/{relative}".rpartition("/")[0])
        if landing.sidecar is not None:
            self.put_sidecar(sidecar_path(relative), landing.sidecar)
        landing.half.begin_sync()

    def _name(self, landing: PendingFile) -> WrittenFile:
        """It has its name, which is durable once its folder is synced."""
        relative = _path(landing)
        return landing.half.rename(f"{self._root}/{relative}", relative, sync=False)

    def put_sidecar(self, path: str, content: bytes) -> None:
        self._make(f"{self._root}/{written_path(path)}".rpartition("/")[0])
        with self.begin() as half:
            half.write(content)
            half.rename(f"{self._root}/{path}", path, sync=False)

    def remove(self, path: str) -> None:
        place = Path(self._root, written_path(path))
        refuse_elsewhere(self._root, str(place.parent))
        with disk_errors(place):
            place.unlink(missing_ok=True)

    def kept_controls(self) -> set[str]:
        with disk_errors(folder := f"{self._root}/{CONTROLS}"), suppress(FileNotFoundError):
            return set(os.listdir(folder))
        return set()

    def keep_control(self, sha256: str, content: bytes, mime: str) -> None:
        folder = f"{self._root}/{CONTROLS}"
        self._make(folder)
        with self.begin() as half:
            half.write(content)
            half.rename(f"{folder}/{sha256}", f"{CONTROLS}/{sha256}")
        with disk_errors(folder):
            sync(folder)

    def read_kept_control(self, sha256: str) -> bytes:
        try:
            with open_regular(f"{self._root}/{CONTROLS}/{sha256}") as file:
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise SinkError(
                f"cannot read {CONTROLS}/{sha256} in {self._root!r}: {exc.strerror}"
            ) from exc

    def _make(self, folder: str) -> None:
        """A folder, so that it is still there after a power loss; through no link."""
        if folder in self._made:
            return
        with disk_errors(folder):
            if self._made:
                os.stat(self._root)  # renamed meanwhile, it is not made again under its old name
        refuse_elsewhere(self._root, folder)
        with disk_errors(folder):
            missing = [f for f in (Path(folder), *Path(folder).parents) if not f.exists()]
            os.makedirs(folder, exist_ok=True)
            for made in missing:
                sync(made.parent)
        self._made.add(folder)


def _path(landing: PendingFile) -> str:
    return f"{IMAGES}/{landing.stem}.{landing.extension}"


def _each(
    landings: Sequence[PendingFile],
    step: Callable[[PendingFile], _Done],
    failed: dict[int, SinkError],
) -> dict[int, _Done]:
    """What *step* answered for each that has not *failed*, by its number."""
    done: dict[int, _Done] = {}
    for number, landing in enumerate(landings):
        if number not in failed:
            try:
                done[number] = step(landing)
            except SinkError as exc:
                failed[number] = exc
    return done
