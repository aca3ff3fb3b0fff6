"""Comma-separated values, for spreadsheets and databases.

UTF-8, lines end with LF, what is nested is JSON text. An absent value is an empty cell, an empty
text is `""`. A text that a spreadsheet would take for a formula (it begins with = + - @, or a tab
or return) gets a ' in front, and so does one that begins with '; take the first ' away and you
have it back. A prompt with line ends stays as it is, between quotes: RFC 4180.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from fluxbatch.export.columns import COLUMNS, ColumnType, ExportRecord, SamplePage
from fluxbatch.export.formats.base import LineFormat, Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import mark_of

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_IS_PLAIN = re.compile(r"[\w./]([\w./: -]*[\w./:-])?", re.ASCII).fullmatch
"""Most texts, in a quarter of the time that it takes to look for each thing that is not."""
_IS_SPECIAL = re.compile(r'[,"\n\r]').search
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Csv(LineFormat):
    """The header is the columns' names."""

    name: Final = "csv"
    identity: Final = "csv 1"
    shard_size: Final = None
    most: Final = None
    holds_images: Final = False
    needs_image: Final = False
    patterns: Final = ("*-??????.csv", ".fluxbatch/*-??????.json")
    data_files: Final = "SPLIT-*.csv"
    heading: Final = (",".join(COLUMNS) + "\n").encode()

    def __init__(self, images: SampleImages | None = None, *, embed: bool = False) -> None:
        """Of text alone: it needs neither."""

    def mark(self, stem: Stem) -> str:
        return mark_of(str(stem))

    def line(self, record: ExportRecord) -> bytes:
        return _lines([value] for value in record.values())

    def lines(self, page: SamplePage) -> bytes:
        return _lines(page.columns.values())


def _lines(columns: Iterable[Sequence[Any]]) -> bytes:
    cells = [_cells(cell, values) for cell, values in zip(_CELLS, columns, strict=True)]
    return "".join([",".join(line) + "\n" for line in zip(*cells, strict=True)]).encode()


def _cells(cell: Callable[[Any], str], values: Sequence[Any]) -> list[str]:
    first = values[0]
    # Most columns say the same in many lines. Not of numbers: what is equal may be written apart.
    if (first is None or isinstance(first, str)) and values.count(first) == len(values):
        return ["" if first is None else cell(first)] * len(values)
    if cell is _text:
        return ["" if v is None else v if _IS_PLAIN(v) else _marked(v) for v in values]
    return ["" if value is None else cell(value) for value in values]


def _text(value: str) -> str:
    return value if _IS_PLAIN(value) else _marked(value)


def _marked(value: str) -> str:
    """With its mark where it would be a formula, and between quotes where it needs them."""
    plain = value.replace("\0", "\ufffd")  # half of all readers end the cell at a NUL
    return _quoted("'" + plain if plain.startswith(_FORMULA) else plain)


def _nested(value: Mapping[str, Any] | list[Any]) -> str:
    return _quoted(_encode(value)) if value else str(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    if text and not _IS_SPECIAL(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


_KINDS: Mapping[ColumnType, Callable[[Any], str]] = {
    "text": _text,
    "nested": _nested,
    "flag": _flag,
}
_PLAIN_COLUMNS = {"status", "error_class", "job_id", "format"}
"""Words of our own and hex digits."""
_CELLS = [
    str if name in _PLAIN_COLUMNS else _KINDS.get(kind, str) for name, kind in COLUMNS.items()
]
