"""From lines to records, CSV and JSONL: cells by column name, or why a line has none.

Owns the two formats. A bad line is a record that says so and reading goes on; only a
file without a usable header ends it. Knows nothing of the model and its inputs.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic_core import from_json

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.source import MAX_LINE_BYTES, PARQUET
from fluxbatch.shaping import ManifestFormat

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
FORMATS = (
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
        f"manifest {str(path)!r} is no {FORMATS}; name the format with --format, or rename it"
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


def read_jsonl(lines: Lines) -> Iterator[Record]:
    """One object a line; empty lines are skipped."""
    for number, line in lines:
        if line is None:
            yield number, _TOO_LONG
            continue
        try:
            value = from_json(line, allow_inf_nan=False, cache_strings="keys")
        except ValueError as exc:
            if line.strip():
                yield number, _why_not_json(line, exc)
            continue
        if type(value) is not dict:
            yield number, 'the line is not a JSON object like {"prompt": "..."}'
        elif _may_repeat_a_name(line, value) and (name := _repeated_name(line)) is not None:
            yield number, f"the name {name!r} stands twice in the object"
        else:
            yield number, value


def _why_not_json(line: bytes, exc: ValueError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    return f"the line is not JSON: {str(exc).replace(' at line 1 column', ' at column')}"


def _may_repeat_a_name(line: bytes, value: Mapping[str, object]) -> bool:
    """Cheap, and right when it says no: as many `":` as names, none with space between."""
    names = len(value)
    written = line.count(b'":')
    if written != names:  # an object like `meta` has names of its own
        names += sum(len(inner) for inner in value.values() if type(inner) is dict)
    return written != names or b'" ' in line or b'"\t' in line or b'"\r' in line


def _repeated_name(line: bytes) -> str | None:
    """The parser keeps the last of two equal names, and what was lost would cost money."""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated.extend(name for name in names if names.count(name) > 1)

    try:
        json.loads(line, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return None
    return repeated[0] if repeated else None


def read_csv(
    lines: Lines, check_header: Callable[[list[str]], None], delimiter: str = ","
) -> Iterator[Record]:
    """A header, then a row of as many cells each; empty lines are skipped.

    *check_header* may raise `ManifestError`; so does a header that cannot be one.
    """
    csv.field_size_limit(MAX_LINE_BYTES)  # the module knows no narrower place for it
    unusable: dict[int, str] = {}
    rows = csv.reader(_texts(lines, unusable), strict=True, delimiter=delimiter)
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            unusable.setdefault(line, f"not CSV: {exc}")
            cells = []
        if unusable:
            reason = next(iter(unusable.values()))
            unusable.clear()
            if not header:
                raise ManifestError(f"line {line}, the header of the manifest: {reason}")
            yield line, reason
        elif not cells:
            continue
        elif not header:
            header = [name.strip() for name in cells]
            _refuse_bad_header(header)
            check_header(header)
        elif len(cells) != len(header):
            yield line, _miscounted(cells, header)
        else:
            yield line, dict(zip(header, cells, strict=True))


def _texts(lines: Lines, unusable: dict[int, str]) -> Iterator[str]:
    """Every line as text, so that the parser's count of lines is the file's."""
    for number, line in lines:
        if line is None:
            unusable[number] = _TOO_LONG
            yield "\n"
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            unusable[number] = _NOT_UTF8
            text = line.decode(errors="replace")
        if "\0" in text:
            unusable[number] = _NUL
        yield text + "\n"


def _refuse_bad_header(header: list[str]) -> None:
    if "" in header:
        raise ManifestError(
            f"column {header.index('') + 1} of the manifest has no name; "
            "the first line must name every column"
        )
    if twice := [name for name in header if header.count(name) > 1]:
        raise ManifestError(f"two columns of the manifest are named {twice[0]!r}; rename one")


def _miscounted(cells: list[str], header: list[str]) -> str:
    if len(cells) < len(header):
        missing = re.sub(r"^(.{60}).+", r"\1…", ", ".join(header[len(cells) :]))
        return f"{len(cells)} cells where the header names {len(header)}: none for {missing}"
    return (
        f"{len(cells)} cells where the header names {len(header)}; "
        'a text with a comma in it needs quotes: "red, blue"'
    )
