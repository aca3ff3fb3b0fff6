"""The conversion of lines to records, CSV and JSONL: cells by column name, or an error.

Owns the two formats. A bad line is a record that says so and reading goes on; only a
file without a usable header ends it. Knows nothing of the model and its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if text.startswith("[") and not text.startswith("[["):
        raise ManifestError(
            f"manifest {str(path)!r} looks like one JSON array; write one object a line: "
            f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
        )
    if text.startswith("{"):
        return "jsonl"
    if suffix in {"", ".txt", ".dat"} and (sniffed := _sniffed(text)) is not None:
        return sniffed
    raise ManifestError(
        f"manifest {str(path)!r} is no {MANIFEST_FORMATS};"
        " name the format with --format, or rename it"
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
