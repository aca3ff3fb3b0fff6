"""CSV and TSV manifests: lines to records, cells by column name."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from itertools import chain

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES
from fluxbatch.manifest.readers.records import NOT_UTF8, TOO_LONG, Lines, Record

_NUL = "the line has a NUL byte"


def read_csv(
    lines: Lines, check_header: Callable[[list[str]], None], delimiter: str = ","
) -> Iterator[Record]:
    """A header, then a row of as many cells each; empty lines are skipped.

    *check_header* may raise `ManifestError`; so does a header that cannot be one.
    """
    csv.field_size_limit(MAX_LINE_BYTES)  # the module knows no narrower place for it
    unusable: dict[int, str] = {}
    lines, delimiter = _without_sep(lines, delimiter)
    rows = csv.reader(_texts(lines, unusable), strict=True, delimiter=delimiter)
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            unusable.setdefault(line, _why_not_csv(exc))
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


def _texts(lines: Lines, unusable: dict[int, str]) -> Iterator[str]:
    """Every line as text, so that the parser's count of lines is the file's."""
    for number, line in lines:
        if line is None:
            unusable[number] = TOO_LONG
            yield "\n"
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            unusable[number] = NOT_UTF8
            text = line.decode(errors="replace")
        if "\0" in text:
            unusable[number] = _NUL
        yield text + "\n"


def _refuse_bad_header(header: list[str]) -> None:
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise ManifestError(f"two columns of the manifest are named {twice[0]!r}; rename one")


def _miscounted(cells: list[str], header: list[str]) -> str:
    if len(cells) < len(header):
        missing = re.sub(r"^(.{60}).+", r"\1…", ", ".join(header[len(cells) :]))
        return f"{len(cells)} cells where the header names {len(header)}: none for {missing}"
    return (
        f"{len(cells)} cells where the header names {len(header)}; "
        'a text with a comma in it needs quotes: "red, blue"'
    )
