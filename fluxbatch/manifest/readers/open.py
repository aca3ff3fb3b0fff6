"""The opening of a manifest by name: a file of any format, a folder of images, or a glob.

Owns which reader a manifest gets, and the order of many files: by name, as if they were one, each
with relative files of its own folder.
"""

from __future__ import annotations

import glob
import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fluxbatch.config.sweep import ManifestFormat
from fluxbatch.errors import ManifestError
from fluxbatch.manifest.columns import Columns, RowParts, broken
from fluxbatch.manifest.control_images.resolve import anchored
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.manifest.readers.format_detection import format_of, refuse_array
from fluxbatch.manifest.readers.image_folder import ImageFolderReader
from fluxbatch.manifest.readers.records import Record
from fluxbatch.manifest.readers.registry import MANIFEST_READERS, plugin_reader
from fluxbatch.models import ModelCard

_MOST_FILES = 100_000


class Records(Protocol):
    """A manifest's records, read as often as asked."""

    @property
    def path(self) -> Path: ...

    @property
    def sha256(self) -> str:
        """Of the bytes that make the records."""
        ...

    @property
    def bytes(self) -> int: ...

    @property
    def bytes_read(self) -> int:
        """By the pass that is under way."""
        ...

    def parts(self, columns: Columns) -> Iterator[tuple[int, RowParts]]:
        """Each record's line (or number), from 1, and its parts; raises `ManifestError`."""
        ...


def open_records(
    path: Path, card: ModelCard, folder: Path, kind: ManifestFormat | None = None
) -> Records:
    """Look at the manifest once; raise `ManifestError` if it cannot be one.

    *folder* is where relative files begin, where they don't begin with each file's own folder.
    """
    if path.is_dir():
        if kind not in (None, "images"):
            raise ManifestError(f"manifest {str(path)!r} is a folder, which is no {kind}")
        return _Folder(path, card)
    if glob.has_magic(str(path)) and not path.exists():
        found = sorted(glob.glob(str(path), recursive=True))
        files = [Path(name) for name in found if not Path(name).is_dir()]
        if not files:
            raise ManifestError(f"no file matches {str(path)!r}")
        if len(files) > _MOST_FILES:
            raise ManifestError(f"{len(files):,} files match {str(path)!r}, which is too many")
        return ManyFiles(path, [_File(one, kind) for one in files], card, folder)
    return _File(path, kind)


class _File:
    """One file."""

    def __init__(self, path: Path, kind: ManifestFormat | None) -> None:
        reader = plugin_reader(path, kind)
        self._source = FileSource(path, of_any_kind=reader is not None)
        if reader is None:
            kind = kind or format_of(path, self._source.head)
            if kind == "jsonl":
                refuse_array(path, self._source.head)
            if kind == "images":
                raise ManifestError(f"manifest {str(path)!r} is a file, and 'images' is a folder")
            reader = MANIFEST_READERS[kind]
        self.path = path
        self.sha256 = self._source.sha256
        self.bytes = self._source.bytes
        self._records = reader.open(self._source)

    @property
    def bytes_read(self) -> int:
        return self._source.bytes_read

    def parts(self, columns: Columns) -> Iterator[tuple[int, RowParts]]:
        return _parts(self._records(columns), columns)


class _Folder:
    """A folder of images."""

    def __init__(self, path: Path, card: ModelCard) -> None:
        if not card.file_inputs:
            raise ManifestError(f"{card.slug} takes no image, and {str(path)!r} is a folder")
        self._pictures = ImageFolderReader(path, min(card.file_inputs))
        self.path = path
        self.sha256 = self._pictures.sha256
        self.bytes = self._pictures.bytes

    @property
    def bytes_read(self) -> int:
        return self._pictures.bytes_read

    def parts(self, columns: Columns) -> Iterator[tuple[int, RowParts]]:
        return _parts(self._pictures.records(), columns)


class ManyFiles:
    """Files one after the other, their lines counted on."""

    def __init__(self, path: Path, files: list[_File], card: ModelCard, folder: Path) -> None:
        self.path = path
        self._files = files
        self._file_inputs = card.file_inputs
        self._folder = folder
        self._begins: list[int] = []
        """The line before each file's first."""
        self.bytes = sum(file.bytes for file in files)
        self.sha256 = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()

    @property
    def bytes_read(self) -> int:
        return sum(file.bytes_read for file in self._files)

    def parts(self, columns: Columns) -> Iterator[tuple[int, RowParts]]:
        self._begins = []
        last = 0
        for file in self._files:
            begins = last
            self._begins.append(begins)
            own = file.path.parent.absolute()
            for line, parts in file.parts(columns):
                last = begins + line
                yield last, parts if own == self._folder else self._anchored(parts, own)

    def where(self, line: int) -> str:
        """The file of a line that was read, and its line there."""
        at = bisect_right(self._begins, line - 1) - 1
        return f"in {str(self._files[at].path)!r}, line {line - self._begins[at]}"

    def _anchored(self, parts: RowParts, folder: Path) -> RowParts:
        given = dict(parts.given)
        for name in self._file_inputs:
            if isinstance(text := given.get(name), str):
                given[name] = anchored(text, folder)
        return parts._replace(given=given)


def _parts(records: Iterator[Record], columns: Columns) -> Iterator[tuple[int, RowParts]]:
    read = columns.read
    for line, cells in records:
        yield line, broken(cells) if isinstance(cells, str) else read(cells)
