"""The manifest formats: which one a file has, by its name or its first bytes.

Owns the endings, and what the readers of lines share: the shape of a record and the words for a
line that cannot be read. Knows nothing of the model and its inputs.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from fluxbatch.config.sweep import ManifestFormat
from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES, PARQUET

Lines = Iterable[tuple[int, bytes | None]]
Record = tuple[int, "Mapping[str, object] | str"]
"""The line a record starts on, and its cells, or why it has none."""

_SUFFIXES: Mapping[str, ManifestFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
}
_PACKED = {".gz", ".zst", ".zstd"}
MANIFEST_FORMATS = (
    "CSV (.csv), TSV (.tsv), JSONL (.jsonl, .ndjson), Parquet (.parquet), YAML (.yaml) or TOML"
    " (.toml)"
)
_TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB"
_NOT_UTF8 = "the line is not valid UTF-8; save the file as UTF-8"
_NUL = "the line has a NUL byte"


def format_of(path: Path, head: bytes) -> ManifestFormat:
    """The format by the file's name, else by its first bytes; raise `ManifestError`."""
    if head.startswith(PARQUET):
        return "parquet"
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if (known := _SUFFIXES.get(suffix)) is not None:
        return known
    refuse_array(path, head)
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if suffix == ".json":
        return "jsonl"
    if text.startswith("{"):
        return "jsonl"
    if suffix in {"", ".txt", ".dat"} and (sniffed := _sniffed(text)) is not None:
        return sniffed
    raise ManifestError(
        f"manifest {str(path)!r} is no {MANIFEST_FORMATS};"
        " name the format with --format, or rename it"
    )


def refuse_array(path: Path, head: bytes) -> None:
    """Raise `ManifestError` for JSON that is one array of rows, with how to make lines of it."""
    if re.match(rb"\s*\[\s*\{", head.removeprefix(codecs.BOM_UTF8)):
        raise ManifestError(
            f"manifest {str(path)!r} looks like one JSON array; write one object a line: "
            f"jq -c '.[]' {path.name} > {path.stem}.lines.jsonl"
        )


def _sniffed(text: str) -> ManifestFormat | None:
    first_line = text.partition("\n")[0]
    if text.startswith(("- ", "-\n")):
        return "yaml"
    if text.startswith("[["):
        return "toml"
    if "\t" in first_line:
        return "tsv"
    return "csv" if "," in first_line else None


def _without_sep(lines: Lines, delimiter: str) -> tuple[Lines, str]:
    """*lines* with an empty one for Excel's `sep=;`, and what it says parts the cells."""
    rest = iter(lines)
    number, line = next(rest, (1, b""))
    found = re.fullmatch(rb'"?sep=([,;|\t])"?\s*', line or b"", re.IGNORECASE)
    if found is not None:
        line, delimiter = b"", found[1].decode()
    return chain([(number, line)], rest), delimiter


def _why_not_csv(exc: csv.Error) -> str:
    if "new-line character" in str(exc):
        return "a carriage return stands alone within the line; save the file with one line end"
    return f"not CSV: {exc}"
