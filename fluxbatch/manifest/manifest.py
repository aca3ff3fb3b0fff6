"""A manifest: rows in, jobs out.

Owns what a run is asked to make. One pass yields every row with its job or the reason it has
none, streamed, in the file's order and the same each time. It spends nothing, and fetches and
writes nothing but control images that are elsewhere; what becomes of the rows is the caller's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from fluxbatch.config.settings import Settings
from fluxbatch.config.sweep import ManifestFormat, Sweep, Templates
from fluxbatch.domain.job import Input, Row
from fluxbatch.errors import ConfigError, ManifestError
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.manifest.columns import Columns, RowParts
from fluxbatch.manifest.control_images.fetch import RemoteImages
from fluxbatch.manifest.control_images.resolve import (
    ControlImages,
    FileHashes,
    MemoryFileHashes,
    anchored,
)
from fluxbatch.manifest.expansion import Counted, Expansion
from fluxbatch.manifest.readers.open import ManyFiles, Records, open_records
from fluxbatch.manifest.readers.remote_file import is_spooled
from fluxbatch.manifest.row_builder import OnBad, RowBuilder
from fluxbatch.manifest.sweep.cells import Cells
from fluxbatch.manifest.templates.dynamic_parser import is_template
from fluxbatch.models import BadInput, ModelCard, Problem

_ALONE = RowParts({}, None, None, 0, {}, ())
_NO_LINE = 0


class _Asked(NamedTuple):
    """Everything beside the file that shapes its jobs."""

    card: ModelCard
    columns: Columns
    defaults: Input
    cells: Cells | None
    expansion: Expansion | None
    folder: Path
    hashes: FileHashes
    allow_http: bool
    controls: Path | None


class ManifestShape(NamedTuple):
    """What a config says of the jobs, beside the manifest itself."""

    defaults: Mapping[str, object] = {}
    sweep: Sweep | None = None
    columns: Mapping[str, str] = {}
    templates: Templates | None = None
    format: ManifestFormat | None = None
    folder: Path | None = None
    """Where the config's relative files begin; None: where the manifest's do."""

    @classmethod
    def of(cls, settings: Settings) -> ManifestShape:
        return cls(
            settings.defaults,
            settings.sweep,
            settings.columns,
            settings.templates,
            settings.format,
            settings.folder,
        )


class Manifest:
    """The rows of a file, a sweep, or a sweep over every row of a file.

    Precedence for one input: the sweep's cell, then the row, then the defaults. A row that gives
    an input the sweep varies is refused, because one of the two would be lost silently.
    A sweep draws the same cells for every row. Rows of a sweep alone are of line 0.
    """

    def __init__(self, records: Records | None, asked: _Asked, identity: str) -> None:
        self._records = records
        self._asked = asked
        self.identity = identity
        """Hex sha256 of the file's bytes and the settings that shape its jobs."""

    @classmethod
    def named(
        cls,
        path: Path | None,
        settings: Settings,
        card: ModelCard,
        hashes: FileHashes,
        controls: Path | None = None,
    ) -> Self:
        """As *settings* shape it; *path* None is a sweep alone. Raises as `open` does."""
        return cls.open(
            path,
            card=card,
            shape=ManifestShape.of(settings),
            allow_http=is_loopback(settings.provider.base_url),
            hashes=hashes,
            controls=controls,
        )

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        card: ModelCard,
        shape: ManifestShape | None = None,
        allow_http: bool = False,
        hashes: FileHashes | None = None,
        folder: Path | None = None,
        controls: Path | None = None,
    ) -> Self:
        """Read the file once for its identity; raise `ConfigError` for what no row can mend.

        *folder* is where relative paths of rows begin: the manifest's own by default, or the
        working directory without one. Control images that are elsewhere are fetched into the
        folder *controls*; None: rows that name one are refused.
        """
        shape = shape or ManifestShape()
        if path is None and shape.sweep is None:
            raise ConfigError("nothing to make: name a manifest, or a sweep in the config")
        if folder is None:
            folder = _folder_of(path)
        folder = folder.absolute()
        of_config = (shape.folder or folder).absolute()
        templates = _templates(shape, card)
        sweep, variables = shape.sweep, templates is not None
        defaults = _checked_defaults(shape.defaults, card, of_config, variables)
        cells = None
        if sweep is not None:
            cells = Cells(sweep, card=card, folder=of_config, variables=variables)
        expansion = None
        if cells is not None or templates is not None:
            expansion = Expansion(card, defaults, cells, templates, of_config)
        asked = _Asked(
            card=card,
            columns=Columns(card, shape.columns, variables=variables),
            defaults=defaults,
            cells=cells,
            expansion=expansion,
            folder=folder,
            hashes=MemoryFileHashes() if hashes is None else hashes,
            allow_http=allow_http,
            controls=controls,
        )
        records = None if path is None else open_records(path, card, folder, shape.format)
        return cls(records, asked, _identity(records, asked, shape))

    @property
    def path(self) -> Path | None:
        return self._records.path if self._records is not None else None

    @property
    def bytes(self) -> int:
        """Size of the file; 0 for a sweep alone."""
        return self._records.bytes if self._records is not None else 0

    @property
    def bytes_read(self) -> int:
        """How far the latest pass has read, for progress."""
        return self._records.bytes_read if self._records is not None else 0

    @property
    def cells(self) -> Cells | None:
        """The sweep's, for their count; None without a sweep."""
        return self._asked.cells

    @property
    def multiplies(self) -> bool:
        """Whether a row may become more jobs than it says itself."""
        return self._asked.expansion is not None

    def count(self) -> Counted:
        """How many rows `rows` would give if all are good, without making them.

        Reads the file once; raises `ManifestError` where it cannot be used.
        """
        number, is_exact, any_good = 0, True, False
        expansion = self._asked.expansion
        for _, parts in self._parts():
            counted = Counted(1, is_exact=True)
            if not parts.problems and expansion is not None:
                counted, any_good = expansion.count(parts), True
            number += counted.number * (parts.repeat or 1)
            is_exact = is_exact and counted.is_exact
        if any_good:
            self._require_every_axis_used()
        return Counted(number, is_exact)

    def rows(self, on_bad: OnBad | None = None) -> Iterator[Row]:
        """Every row, each once; one that cannot become a job has `job=None` and an `error`.

        *on_bad* receives every bad field before its row is yielded. Raises `ManifestError` when
        the file as a whole cannot be used, at the latest after the last row: nothing may be spent
        before the end, and `SinkError` where a fetched image cannot be kept. Blocks for disk reads
        and for what it fetches.
        """
        asked, records = self._asked, self._records
        remote = None
        if asked.controls is not None:
            remote = RemoteImages(asked.controls, anywhere=asked.allow_http)
        images = ControlImages(
            asked.folder, asked.hashes, allow_http=asked.allow_http, remote=remote
        )
        row_pass = RowBuilder(
            asked.card,
            defaults=asked.defaults,
            expansion=asked.expansion,
            images=images,
            on_bad=_located(on_bad, records),
        )
        rows = row_pass.rows(self._parts())
        if isinstance(records, ManyFiles):
            rows = _told_where(rows, records)
        return rows if asked.expansion is None else self._with_every_axis_used(rows)

    def _parts(self) -> Iterator[tuple[int, RowParts]]:
        if self._records is None:
            yield _NO_LINE, _ALONE
            return
        found = False
        for line, parts in self._records.parts(self._asked.columns):
            found = True
            yield line, parts
        if not found:
            raise ManifestError(f"manifest {str(self._records.path)!r} has no rows")

    def _with_every_axis_used(self, rows: Iterator[Row]) -> Iterator[Row]:
        any_good = False
        for row in rows:
            any_good = any_good or row.job is not None
            yield row
        if any_good:
            self._require_every_axis_used()

    def _require_every_axis_used(self) -> None:
        for name in self._asked.expansion.unused() if self._asked.expansion is not None else ():
            raise ManifestError(
                f"sweep.axes.{name}: is no input of {self._asked.card.slug}, and no template names"
                f" it; the inputs are {', '.join(self._asked.card.inputs)}"
            )


def _told_where(rows: Iterator[Row], records: ManyFiles) -> Iterator[Row]:
    for row in rows:
        yield row._replace(error=f"{row.error} ({records.where(row.line)})") if row.error else row


def _folder_of(path: Path | None) -> Path:
    """Where relative files of a manifest's rows begin."""
    if path is None or is_spooled(path):
        return Path()
    return path if path.is_dir() else path.parent


def _located(on_bad: OnBad | None, records: Records | None) -> OnBad | None:
    """*on_bad*, given the file's name too where there are many."""
    if on_bad is None or not isinstance(records, ManyFiles):
        return on_bad
    return lambda bad: on_bad(bad._replace(reason=f"{bad.reason} ({records.where(bad.line)})"))


def _templates(shape: ManifestShape, card: ModelCard) -> Templates | None:
    """Those that are asked for, by name or by an axis that nothing else could use."""
    if shape.templates is not None:
        return shape.templates if shape.templates.expand else None
    axes = _axes_of(shape.sweep)
    if any(name not in card.inputs for name in axes):
        return Templates()
    texts = [(f"defaults.{name}", value) for name, value in shape.defaults.items()]
    for name, values in axes.items():
        texts += [(f"sweep.axes.{name}", one) for one in values if isinstance(values, list)]
    for where, text in texts:
        if isinstance(text, str) and is_template(text):
            raise ConfigError(
                f"{where}: {text[:60]!r} looks like a template; write `templates: {{}}` in the"
                " config to have it expanded, or `templates: false` to send it as it is"
            )
    return None


def _axes_of(sweep: Sweep | None) -> dict[str, Any]:
    """Of a sweep and those within."""
    if sweep is None:
        return {}
    axes = dict(sweep.axes)
    for within in sweep.nested:
        axes |= _axes_of(within)
    return axes


def _checked_defaults(
    defaults: Mapping[str, object], card: ModelCard, folder: Path, has_templates: bool
) -> Input:
    checked: Input = {}
    problems: list[Problem] = []
    for name, value in defaults.items():
        if has_templates and name in card.inputs and isinstance(value, str) and is_template(value):
            checked[name] = value  # what it becomes is checked in each row
            continue
        try:
            checked[name] = card.check_value(name, value)
        except BadInput as exc:
            problems += exc.problems
            continue
        if name in card.file_inputs:
            checked[name] = anchored(str(checked[name]), folder)
    if problems:
        lines = "\n".join(f"  defaults.{name}: {reason}" for name, reason in problems)
        raise ConfigError(f"cannot use the defaults:\n{lines}")
    return checked


def _identity(records: Records | None, asked: _Asked, shape: ManifestShape) -> str:
    """Of everything that decides which jobs the rows name, but the images that rows name."""
    found = asked.cells.files if asked.cells is not None else []
    files = [(str(path), stats.st_size, stats.st_mtime_ns) for path, stats in _with_stats(found)]
    settings: dict[str, object] = {
        "v": 1,
        "file": records.sha256 if records is not None else None,
        "model": asked.card.slug,
        "defaults": asked.defaults,
        "sweep": shape.sweep.model_dump(mode="json") if shape.sweep is not None else None,
        "files": files,
    }
    if shape.columns:
        settings["columns"] = dict(shape.columns)
    if shape.format is not None:
        settings["format"] = shape.format
    if asked.expansion is not None and shape.templates is not None:
        settings["templates"] = shape.templates.model_dump(mode="json")
        settings["wildcards"] = asked.expansion.wildcards.sha256
    if records is not None and is_spooled(records.path):
        settings["folder"] = str(asked.folder)
    if asked.card.schema_sha256 is not None:
        settings["schema"] = asked.card.schema_sha256
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _with_stats(paths: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        try:
            yield path, path.stat()
        except OSError as exc:
            raise ConfigError(f"sweep: cannot read {str(path)!r}: {exc.strerror}") from exc
