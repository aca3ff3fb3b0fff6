"""A manifest: rows in, jobs out.

Owns what a run is asked to make. One pass yields every row with its job or the reason it has
none, streamed, in the file's order and the same each time. It spends nothing, fetches nothing
and writes nothing; what becomes of the rows is the caller's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from fluxbatch.config import Sweep
from fluxbatch.errors import ConfigError, ManifestError
from fluxbatch.job import Input, Row
from fluxbatch.manifest.columns import Columns, RowParts, broken
from fluxbatch.manifest.control import ControlImages, FileHashes, MemoryFileHashes
from fluxbatch.manifest.reading import Record, format_of, read_csv, read_jsonl
from fluxbatch.manifest.rows import OnBad, RowPass
from fluxbatch.manifest.source import Source
from fluxbatch.manifest.sweep import Cells
from fluxbatch.models import BadInput, ModelCard, Problem

_ALONE = RowParts({}, None, None, 0, {}, ())
_NO_LINE = 0


class _Asked(NamedTuple):
    """Everything beside the file that shapes its jobs."""

    card: ModelCard
    defaults: Input
    cells: Cells | None
    folder: Path
    hashes: FileHashes
    allow_http: bool


class Manifest:
    """The rows of a file, a sweep, or a sweep over every row of a file.

    Precedence for one input: the sweep's cell, then the row, then the defaults. A row that gives
    an input the sweep varies is refused, because one of the two would be lost without a word.
    A sweep draws the same cells for every row. Rows of a sweep alone are of line 0.
    """

    def __init__(self, source: Source | None, asked: _Asked, identity: str) -> None:
        self._source = source
        self._asked = asked
        self.identity = identity
        """Hex sha256 of the file's bytes and the settings that shape its jobs."""

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        card: ModelCard,
        defaults: Mapping[str, object] | None = None,
        sweep: Sweep | None = None,
        allow_http: bool = False,
        hashes: FileHashes | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Read the file once for its identity; raise `ConfigError` for what no row can mend.

        *folder* is where relative paths and globs begin: the manifest's own by default, or the
        working directory without one.
        """
        if path is None and sweep is None:
            raise ConfigError("nothing to make: name a manifest, or a sweep in the config")
        if folder is None:
            folder = path.parent if path is not None else Path()
        folder = folder.absolute()
        asked = _Asked(
            card=card,
            defaults=_checked_defaults(defaults or {}, card),
            cells=None if sweep is None else Cells(sweep, card=card, folder=folder),
            folder=folder,
            hashes=MemoryFileHashes() if hashes is None else hashes,
            allow_http=allow_http,
        )
        source = None if path is None else Source(path)
        if source is not None:
            format_of(source.path, source.head)
        return cls(source, asked, _identity(source, asked, sweep))

    @property
    def path(self) -> Path | None:
        return self._source.path if self._source is not None else None

    @property
    def bytes(self) -> int:
        """Size of the file; 0 for a sweep alone."""
        return self._source.bytes if self._source is not None else 0

    @property
    def bytes_read(self) -> int:
        """How far the latest pass has read, for progress."""
        return self._source.bytes_read if self._source is not None else 0

    @property
    def cells(self) -> Cells | None:
        """The sweep's, for their count; None without a sweep."""
        return self._asked.cells

    def rows(self, on_bad: OnBad | None = None) -> Iterator[Row]:
        """Every row, each once; one that cannot become a job has `job=None` and an `error`.

        *on_bad* hears of every bad field before its row is yielded. Raises `ManifestError` when
        the file as a whole cannot be used, at the latest after the last row: nothing may be spent
        before the end. Blocks for disk reads.
        """
        card, defaults, cells, folder, hashes, allow_http = self._asked
        images = ControlImages(folder, hashes, allow_http=allow_http)
        row_pass = RowPass(card, defaults=defaults, cells=cells, images=images, on_bad=on_bad)
        return row_pass.rows(self._records())

    def _records(self) -> Iterator[tuple[int, RowParts]]:
        if self._source is None:
            yield _NO_LINE, _ALONE
            return
        columns = Columns(self._asked.card)
        found = False
        for line, cells in self._read(self._source, columns):
            found = True
            yield line, broken(cells) if isinstance(cells, str) else columns.read(cells)
        if not found:
            raise ManifestError(f"manifest {str(self._source.path)!r} has no rows")

    @staticmethod
    def _read(source: Source, columns: Columns) -> Iterator[Record]:
        if format_of(source.path, source.head) == "csv":
            return read_csv(source.lines(), columns.check_header)
        return read_jsonl(source.lines())


def _checked_defaults(defaults: Mapping[str, object], card: ModelCard) -> Input:
    checked: Input = {}
    problems: list[Problem] = []
    for name, value in defaults.items():
        try:
            checked[name] = card.check_value(name, value)
        except BadInput as exc:
            problems += exc.problems
    if problems:
        lines = "\n".join(f"  defaults.{name}: {reason}" for name, reason in problems)
        raise ConfigError(f"cannot use the defaults:\n{lines}")
    return checked


def _identity(source: Source | None, asked: _Asked, sweep: Sweep | None) -> str:
    """Of everything that decides which jobs the rows name, but the images that rows name."""
    found = asked.cells.files if asked.cells is not None else []
    files = [(str(path), stats.st_size, stats.st_mtime_ns) for path, stats in _with_stats(found)]
    settings: dict[str, object] = {
        "v": 1,
        "file": source.sha256 if source is not None else None,
        "model": asked.card.slug,
        "defaults": asked.defaults,
        "sweep": sweep.model_dump(mode="json") if sweep is not None else None,
        "files": files,
    }
    if asked.card.schema_sha256 is not None:
        settings["schema"] = asked.card.schema_sha256
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _with_stats(paths: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        try:
            yield path, path.stat()
        except OSError as exc:
            raise ConfigError(f"sweep: cannot read {str(path)!r}: {exc.strerror}") from exc
