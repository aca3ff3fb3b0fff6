"""Manifests in YAML and TOML: a list of rows, for those that are written by hand.

Owns what a list of rows is; a row that aliases make larger than anyone wrote is an error. TOML has
its rows as `[[rows]]`. What YAML's words stand for is `fluxbatch.config.yaml_text`'s.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import yaml

from fluxbatch.config.yaml_text import MOST_YAML_BYTES, YAML_ERRORS, YamlLoader, one_line
from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.manifest.readers.records import Record

_MOST_NODES = 10_000


def read_yaml(source: FileSource) -> Iterator[Record]:
    """Each row's line and cells; raise `ManifestError` for a file that is no list of rows."""
    content = source.content(MOST_YAML_BYTES)
    name = f"manifest {str(source.path)!r}"
    try:
        loader = YamlLoader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise ManifestError(f"{name} is no list; write each row as '- prompt: …'")
        rows = [(one.start_mark.line + 1, loader.construct_document(one)) for one in node.value]
    except UnicodeDecodeError:
        raise ManifestError(f"{name} is not UTF-8; save it as UTF-8") from None
    except YAML_ERRORS as exc:
        raise ManifestError(f"{name} is not YAML: {one_line(exc)}") from None
    for line, row in rows:
        yield line, _fit(row)


def read_toml(source: FileSource) -> Iterator[Record]:
    """Each row's number and cells; raise `ManifestError` for a file that has no `[[rows]]`."""
    content = source.content(MOST_YAML_BYTES)
    name = f"manifest {str(source.path)!r}"
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ManifestError(f"{name} is not UTF-8; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as exc:
        raise ManifestError(f"{name} is not TOML: {one_line(exc)}") from None
    rows = table.pop("rows", None)
    if not isinstance(rows, list) or table:
        more = f", and nothing else: {next(iter(table))[:60]!r}" if table else ""
        raise ManifestError(f"{name} is no list of rows; write each below its own [[rows]]{more}")
    for number, row in enumerate(rows, start=1):
        yield number, _fit(row)


def is_rows(path: Path) -> bool:
    """Whether a YAML or TOML file is a list of rows, and not a config."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_YAML_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return False
    if path.suffix.lower() == ".toml":
        return re.search(r"^\s*\[\[\s*rows\s*\]\]", text, re.MULTILINE) is not None
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "%", "---"))), "")
    return first == "-" or first.startswith(("- ", "["))


def _fit(row: object) -> Mapping[str, object] | str:
    if not isinstance(row, dict):
        return "the row is not a table of columns like 'prompt: …'"
    try:
        left = _MOST_NODES
        found: list[object] = [row]
        while found:
            left -= 1
            if left < 0:
                return f"the row has more than {_MOST_NODES:,} values"
            inner = found.pop()
            if isinstance(inner, str):
                inner.encode()
            elif isinstance(inner, dict):
                if not all(isinstance(key, str) for key in inner):
                    return "a name in the row is not text; put it in quotes"
                found += inner.values()
            elif isinstance(inner, list):
                found += inner
            elif not isinstance(inner, int | float | date | datetime | time_of_day | None):
                return f"a value in the row is {type(inner).__name__}, which is no text or number"
        return {name: _as_text(value) for name, value in row.items()}
    except RecursionError:
        return "the row is nested too deep"
    except UnicodeEncodeError:
        return "the row has half a character (a lone surrogate), which no text may hold"


def _as_text(value: Any) -> Any:
    """TOML's times as ISO 8601 has them."""
    if isinstance(value, dict):
        return {name: _as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    return value.isoformat() if isinstance(value, date | time_of_day) else value
