"""Manifests in YAML and TOML: a list of rows, for those that are written by hand.

Owns how much of YAML is meant. Its values are those of YAML 1.2, because `no`, `12:30` and
`2026-11-20` in a prompt are texts; a name that stands twice is an error, and so is a row that
aliases make larger than anyone wrote. TOML has its rows as `[[rows]]`.
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

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.manifest.readers.formats import Record

MAX_LIST_BYTES = 16 * 1024 * 1024
_MOST_NODES = 10_000
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # which of the two is known at runtime
    """YAML 1.2's own types and no others."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # pyyaml's own way

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the name {key.value[:60]!r} stands twice", key.start_mark
                    )
                keys.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [*_first, ""]
    )


def _whole(loader: Any, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node))
)


def read_yaml(source: FileSource) -> Iterator[Record]:
    """Each row's line and cells; raise `ManifestError` for a file that is no list of rows."""
    content = source.content(MAX_LIST_BYTES)
    name = f"manifest {str(source.path)!r}"
    try:
        loader = _Loader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise ManifestError(f"{name} is no list; write each row as '- prompt: …'")
        rows = [(one.start_mark.line + 1, loader.construct_document(one)) for one in node.value]
    except UnicodeDecodeError:
        raise ManifestError(f"{name} is not UTF-8; save it as UTF-8") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError) as exc:
        raise ManifestError(f"{name} is not YAML: {_one_line(exc)}") from None
    for line, row in rows:
        yield line, _fit(row)


def read_toml(source: FileSource) -> Iterator[Record]:
    """Each row's number and cells; raise `ManifestError` for a file that has no `[[rows]]`."""
    content = source.content(MAX_LIST_BYTES)
    name = f"manifest {str(source.path)!r}"
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ManifestError(f"{name} is not UTF-8; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as exc:
        raise ManifestError(f"{name} is not TOML: {_one_line(exc)}") from None
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
            text = file.read(MAX_LIST_BYTES).decode("utf-8-sig", errors="replace")
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


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__
