"""Comma-separated values, for spreadsheets and databases.

UTF-8, lines end with LF, what is nested is JSON text. An absent value is an empty cell, an empty
text is `""`. A text that a spreadsheet would take for a formula (it begins with = + - @, or a tab
or return) gets a ' in front, and so does one that begins with '; take the first ' away and you
have it back. A prompt with line ends stays as it is, between quotes: RFC 4180.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_letters, digits
from typing import Any, Final

from fluxbatch.export.columns import (
    COLUMNS,
    ColumnType,
    ExportRecord,
    JsonTexts,
    SamplePage,
    same_throughout,
)
from fluxbatch.export.formats.base import LineFormat, Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import mark_of

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_IS_PLAIN = re.compile(r"[\w./]([\w./: -]*[\w./:-])?", re.ASCII).fullmatch
"""Most texts, in a quarter of the time that it takes to look for each thing that is not."""
_PLAIN = f"{ascii_letters}{digits}_./: -\n".encode()
_NOT_PLAIN = ("\n\n", "\n ", " \n", "\n-")
"""Of lines: an empty one, a blank at either end, a formula."""
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
        return _lines({name: [value] for name, value in record.items()}, {})

    def lines(self, page: SamplePage) -> bytes:
        return _lines(page.columns, page.texts)


def _lines(columns: Mapping[str, Sequence[Any]], texts: JsonTexts) -> bytes:
    cells = [
        _json_cells(values, texts[name]) if name in texts else _cells(cell, values)
        for cell, (name, values) in zip(_CELLS, columns.items(), strict=True)
    ]
    return "".join([",".join(line) + "\n" for line in zip(*cells, strict=True)]).encode()


def _json_cells(values: Sequence[Any], texts: Sequence[str | None]) -> list[str]:
    return [
        _nested(value) if text is None else _quoted(text)
        for value, text in zip(values, texts, strict=True)
    ]


def _cells(cell: Callable[[Any], str], values: Sequence[Any]) -> Sequence[str]:
    if same_throughout(values):
        return ["" if values[0] is None else cell(values[0])] * len(values)
    if None in values:
        return ["" if value is None else cell(value) for value in values]
    if cell is _as_is or (cell is _text and _are_plain(values)):
        return values
    return list(map(cell, values))


def _are_plain(texts: Sequence[str]) -> bool:
    """Whether `_text` leaves all of them as they are, in a fifth of the time."""
    lines = "\n".join(("", *texts, ""))
    return (
        lines.isascii()
        and not lines.encode().translate(None, _PLAIN)
        and lines.count("\n") == len(texts) + 1
        and not any(pair in lines for pair in _NOT_PLAIN)
    )


def _as_is(value: str) -> str:
    return value


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
    "money": _as_is,
    "moment": _as_is,
}
_PLAIN_COLUMNS = {"status", "error_class", "job_id", "format"}
"""Words of our own and hex digits."""
_CELLS = [
    _as_is if name in _PLAIN_COLUMNS else _KINDS.get(kind, str) for name, kind in COLUMNS.items()
]
