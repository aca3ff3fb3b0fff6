"""The inputs of the Python API, turned into a manifest, settings and keys for the engine.

Owns what the keywords of the API set, and the manifest that rows become:
a JSONL file named by its content, so that the same rows are the same manifest again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict, cast

from fluxbatch.api.call_options import checked_source, plain_value, why_not_json
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.model_card import describe
from fluxbatch.engine.source import BatchSource
from fluxbatch.errors import BadRow, ConfigError, ManifestError, SinkError
from fluxbatch.infra.atomic_file import atomic_file
from fluxbatch.manifest.columns import Columns
from fluxbatch.models import ModelCard

InputRows = Iterable[Mapping[str, Any]]
ManifestInput = str | Path | InputRows
"""A manifest's path, a config's path (.yaml, .yml, .toml), or the rows themselves."""


class ShapeOptions(TypedDict, total=False):
    """What shapes the jobs, their limits and who pays."""

    base_url: str
    """Another endpoint, version prefix included."""
    budget: str | float | Decimal
    """US dollars this run may cost: `budget.per_run`."""
    model: str
    settings: Mapping[str, Any]
    """By dotted name (`{"limits.creates": 50}`), nested like a config, or both."""
    keys: str | ApiKey | Sequence[str | ApiKey]
    """Instead of those of the environment and the config; `key` or `label=key`, one or more."""


class PythonInputs(BatchSource):
    """A caller's source and options, read."""

    def __init__(self, source: ManifestInput | None, shaping: ShapeOptions) -> None:
        """Raises `ConfigError` naming every bad setting."""
        source = checked_source(source)
        is_path = isinstance(source, str | os.PathLike)
        self.rows = None if is_path or source is None else cast("InputRows", source)
        super().__init__(
            Path(cast("str | Path", source)) if is_path else None,
            _flags(shaping),
            cast("Sequence[str | ApiKey] | None", shaping.get("keys")),
        )

    def kept_manifest(self, folder: Folder) -> Path | None:
        """The manifest; rows are written into the dataset."""
        folder.refuse_links()
        place = folder.root / "manifests"
        if self.rows is None:
            return self.manifest_in(place)
        card = self._card(folder)
        folder.make()
        return self._write_rows(self.rows, place, card)

    def passing_manifest(self, place: Path, folder: Folder | None = None) -> Path | None:
        """The manifest; rows are written into *place*, which the caller throws away."""
        if self.rows is None:
            return self.manifest_in(place)
        return self._write_rows(self.rows, place, self._card(folder))

    def _card(self, folder: Folder | None) -> ModelCard:
        return describe(self.settings, folder, self.any_key()).card

    def _write_rows(self, rows: InputRows, place: Path, card: ModelCard) -> Path:
        columns = Columns(card, self.settings.columns, variables=True)
        try:
            place.mkdir(exist_ok=True)
            with atomic_file(place) as half:
                for number, row in enumerate(rows, start=1):
                    half.write(_line(number, row, columns, card.file_inputs))
                half.commit(path := place / f"rows-{half.sha256[:16]}.jsonl")
        except OSError as exc:
            raise SinkError(f"cannot write the rows in {str(place)!r}: {exc.strerror}") from exc
        return path


def _flags(shaping: ShapeOptions) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    for name, value in shaping.get("settings", {}).items():
        _put(flags, name.split("."), value)
    for dotted, option in (("provider.base_url", "base_url"), ("budget.per_run", "budget"),
                           ("model", "model")):  # fmt: skip
        value = cast("dict[str, Any]", shaping).get(option)
        if value is not None:
            _put(flags, dotted.split("."), str(value))
    return flags


def _put(flags: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a nested name; a table is merged into what is there."""
    *sections, last = parts
    for section in sections:
        inner = flags.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"setting {'.'.join(parts)!r}: {section!r} is given as a value too")
        flags = inner
    if isinstance(value, Mapping) and isinstance(flags.get(last), dict):
        for name, inner_value in value.items():
            _put(flags[last], [name], inner_value)
    else:
        flags[last] = dict(value) if isinstance(value, Mapping) else value


def _line(number: int, row: Any, columns: Columns, file_inputs: frozenset[str]) -> bytes:
    """One row as JSON; files are relative to where the caller is, so they become absolute."""
    if not isinstance(row, Mapping):
        raise _bad(number, "", f"is {type(row).__name__}, not a mapping of columns")
    given: dict[str, Any] = {}
    for name, value in row.items():
        if not isinstance(name, str):
            raise _bad(number, "", f"has a column named {name!r}; names are text")
        plain = plain_value(value)
        if (reason := why_not_json(plain)) is not None:
            raise _bad(number, name, reason)
        given[name] = _located(name, plain, columns, file_inputs)
    if isinstance(nested := given.get("input"), Mapping):
        given["input"] = {
            name: _located(name, value, columns, file_inputs) for name, value in nested.items()
        }
    try:
        return json.dumps(given, ensure_ascii=False, default=os.fspath).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as exc:
        raise _bad(number, "", f"cannot be written as JSON: {exc}") from None


def as_python_said(exc: ManifestError, *, are_rows: bool) -> ManifestError:
    """The error with the caller's own words: rows given have no file and no lines, and what skips
    bad ones is a keyword."""
    if not exc.rows:
        return exc
    bad = [row._replace(line=0) for row in exc.bad_rows] if are_rows else exc.bad_rows
    said = ManifestError.of_rows(
        "those given" if are_rows else exc.source, exc.invalid, exc.rows, bad
    )
    said.message += " (skip_invalid=True makes the others)"
    return said


def _bad(number: int, field: str, reason: str) -> ManifestError:
    bad = BadRow(number, 0, field, reason)
    return ManifestError("the rows cannot become jobs; nothing was spent", [bad])


def _located(name: object, value: Any, columns: Columns, file_inputs: frozenset[str]) -> Any:
    is_text = isinstance(value, str | os.PathLike)
    if not is_text or not value or columns.input_of(str(name)) not in file_inputs:
        return value
    text = os.fspath(value)
    is_local = "://" not in text[:16] and not text.startswith(("data:", "sha256:", "~"))
    return str(Path(text).absolute()) if is_local else text
