"""The folder of an export: every file is there whole under its name, or not at all.

Owns the folder: who may write in it, the drafts of what is on its way, the marks of what is done.
A mark says what a shard was made of and the hash of each of its files: a shard whose mark and
files still agree is not written again. Nothing outside of the folder is touched, and of what is
in it only what carries one of our names.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from fluxbatch.errors import ConfigError, FluxbatchError, HeldElsewhere
from fluxbatch.infra import file_lock
from fluxbatch.infra.atomic_file import AtomicFile, atomic_file, rename_durably, sync

_OURS = ".fluxbatch"
_ABOUT = "export.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_BUFFER_BYTES = 1 << 16


class ExportFailed(FluxbatchError):
    """Something that must be in the export could not be read or written; run it again."""


class _DraftFile:
    """A new file as writers see it; only what those of ours need."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file
        self.write = file.write
        self.closed = False

    def writelines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.write(line)

    def tell(self) -> int:
        return self._file.size

    def flush(self) -> None:
        """It is flushed when it is synced."""

    def close(self) -> None:
        self.closed = True  # whoever is handed a file may close it; it is synced first, by us


class Draft:
    """Files on their way, each with the name it will have; another process may write them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, str] = {}
        """The sha256 of each finished file."""

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Write the file *name*; it is whole and on the disk when the block ends."""
        path = self._place(name)
        with explained(path), AtomicFile(path, buffer=_BUFFER_BYTES) as file:
            yield cast("IO[bytes]", _DraftFile(file))
            file.finish()
        self.files[name] = file.sha256

    def take(self, name: str, source: Path) -> None:
        """The file *source* becomes *name* as well: written once more only where this disk gives
        no file two names."""
        path = self._place(name)
        with explained(path):
            try:
                path.hardlink_to(source)
            except OSError:
                shutil.copyfile(source, path)
            sync(path)
            self.files[name] = _digest(path)

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name in self.files:
            raise ValueError(f"{name!r} is no new plain relative name")
        path = self.root / name
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


class OutputDir:
    """The folder of one export, held by this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._drafts = root / _OURS / "drafts"

    def spool(self, name: str) -> Path:
        """A file of our own for what is not yet a shard."""
        return self._drafts / f"{name}.spool"

    def is_done(self, mark: str, made_of: str) -> bool:
        """Whether the shard of that mark was made of the same, and its files are as they were."""
        known = _read_json(self.root / mark)
        files = known.get("files")
        if known.get("made_of") != made_of or not isinstance(files, dict) or not files:
            return False
        return all(
            _NAME.fullmatch(name) and _sha256(self.root / name) == sha256
            for name, sha256 in files.items()
        )

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """An empty draft, to be committed after the block; removed where that fails."""
        folder = self._drafts / f"shard-{secrets.token_hex(8)}"
        with explained(folder):
            folder.mkdir(parents=True)
            try:
                yield Draft(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def commit(self, draft: Draft, mark: str, content: Mapping[str, Any]) -> None:
        """Give everything in *draft* its name, then say so in the mark."""
        with explained(self.root):
            (self.root / mark).unlink(missing_ok=True)
            for name in dict.fromkeys(_unit(name) for name in draft.files):
                self._move(draft.root / name, self.root / name)
            shutil.rmtree(draft.root, ignore_errors=True)
        self.write(mark, {**content, "files": draft.files})

    def _move(self, draft: Path, final: Path) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        if draft.is_dir() and final.exists():  # no system replaces a folder that holds something
            old = self._drafts / "old"
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
            rename_durably(draft, final)
            shutil.rmtree(old)
        else:
            rename_durably(draft, final)

    def write(self, name: str, content: Mapping[str, Any] | bytes) -> str:
        """A small file, replaced in one step; answers its sha256."""
        data = content if isinstance(content, bytes) else _json(content)
        path = self.root / name
        with explained(path):
            self._drafts.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._drafts) as file:
                file.write(data)
                file.commit(path)
            sync(path.parent)
        return file.sha256

    def names(self, mark: str) -> set[str]:
        """A mark, and what it is about: files, or the folders they are in."""
        return {mark, *(_unit(name) for name in _read_json(self.root / mark).get("files", {}))}

    def files(self, mark: str) -> dict[str, str]:
        """The files that a mark is about, and their sha256."""
        return dict(_read_json(self.root / mark).get("files", {}))

    def sha256(self, name: str) -> str | None:
        """Of a file as it is; None where there is none."""
        return _sha256(self.root / name)

    def remove(self, *names: str) -> None:
        """Files of ours that are no longer part of it."""
        with explained(self.root):
            for name in names:
                (self.root / name).unlink(missing_ok=True)

    def write_card(self, name: str, text: bytes) -> bool:
        """Write a file that people may edit; True where they did, so that it was kept.

        What it would be now then lies beside it as `NAME.new`.
        """
        about = self.about()
        there = _sha256(self.root / name)
        if there is not None and there != about.get(name):
            if there != hashlib.sha256(text).hexdigest():
                self.write(f"{name}.new", text)
                return True
        else:
            self.write(name, text)
        self.remove(f"{name}.new")
        self.describe({**about, name: hashlib.sha256(text).hexdigest()})
        return False

    def about(self) -> Mapping[str, Any]:
        """What was exported here before; empty where nothing was."""
        return _read_json(self.root / _OURS / _ABOUT)

    def describe(self, about: Mapping[str, Any]) -> None:
        """Remember what is exported here."""
        self.write(f"{_OURS}/{_ABOUT}", about)

    def remove_others(self, patterns: tuple[str, ...], kept: set[str]) -> int:
        """Remove shards of an earlier export that this one no longer has; how many."""
        removed = 0
        with explained(self.root):
            for pattern in patterns:
                for path in sorted(self.root.glob(pattern)):
                    name = path.relative_to(self.root).as_posix()
                    if name in kept or not _NAME.fullmatch(name.removeprefix(f"{_OURS}/")):
                        continue
                    _remove(path)
                    removed += not name.endswith(".json")
        return removed

    def close(self) -> None:
        """Leave no draft behind."""
        shutil.rmtree(self._drafts, ignore_errors=True)


@contextmanager
def held_place(root: Path, format_name: str) -> Iterator[OutputDir]:
    """The folder *root*, made if need be and ours alone meanwhile.

    Raises `ConfigError` where something else lies there, `HeldElsewhere` while another export
    writes to it.
    """
    _refuse_other_content(root, format_name)
    with explained(root):
        (root / _OURS).mkdir(parents=True, exist_ok=True)
        lock = (root / _OURS / "lock").open("a+")
    with lock:
        if not file_lock.take(lock):
            raise HeldElsewhere(f"another export writes to {str(root)!r}; wait for it")
        place = OutputDir(root)
        place.close()  # what a killed export left
        if not place.about():
            place.describe({"format": format_name})
        try:
            yield place
        finally:
            place.close()


def mark_of(stem: str) -> str:
    """Where the mark of a shard lies unless its format says otherwise."""
    return f"{_OURS}/{stem}.json"


def _refuse_other_content(root: Path, format_name: str) -> None:
    if not root.exists():
        return
    if not root.is_dir():
        raise ConfigError(f"{str(root)!r} is a file; name a folder (--to)")
    before = _read_json(root / _OURS / _ABOUT).get("format")
    others = {path.name for path in root.iterdir()} - {_OURS}
    if before is None and others:
        raise ConfigError(
            f"{str(root)!r} is not empty and holds no export; name another folder (--to)"
        )
    if before not in (None, format_name):
        raise ConfigError(
            f"{str(root)!r} holds an export as {before}; name another folder (--to) or remove it"
        )


def _unit(name: str) -> str:
    """What is moved in one step: a file, or the folder of a shard below its split's."""
    parts = name.split("/")
    return "/".join(parts[:2])


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    shutil.rmtree(path)
    if not any(path.parent.iterdir()):  # a split that is no more
        path.parent.rmdir()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _sha256(path: Path) -> str | None:
    try:
        return _digest(path)
    except OSError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """An `OSError` becomes an `ExportFailed` that names *path*."""
    try:
        yield
    except OSError as exc:
        raise ExportFailed(
            f"cannot write {str(exc.filename or path)!r}: {exc.strerror or exc}; what is finished"
            " stays, run the export again once that is mended"
        ) from exc
