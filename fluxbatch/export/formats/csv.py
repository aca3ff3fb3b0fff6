"""Comma-separated values, for spreadsheets and databases.

UTF-8, lines end with LF, what is nested is JSON text. An absent value is an empty cell, an empty
text is `""`. A text that a spreadsheet would take for a formula (it begins with = + - @, or a tab
or return) gets a ' in front, and so does one that begins with '; take the first ' away and you
have it back. A prompt with line ends stays as it is, between quotes: RFC 4180.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from fluxbatch.export.columns import COLUMNS, ColumnType, Sample
from fluxbatch.export.formats.base import Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, mark_of

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Csv:
    """The header is the columns' names."""

    name: Final = "csv"
    identity: Final = "csv 1"
    shard_size: Final = None
    most: Final = None
    holds_images: Final = False
    needs_image: Final = False
    patterns: Final = ("*-??????.csv", ".fluxbatch/*-??????.json")
    data_files: Final = "SPLIT-*.csv"

    def __init__(self, images: SampleImages | None = None, *, embed: bool = False) -> None:
        """Of text alone: it needs neither."""

    def mark(self, stem: Stem) -> str:
        return mark_of(str(stem))

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        with draft.open(f"{stem}.csv") as file:
            file.write((",".join(COLUMNS) + "\n").encode())
            for sample in samples:
                cells = (_cell(kind, sample.record[name]) for name, kind in COLUMNS.items())
                file.write((",".join(cells) + "\n").encode())


def _cell(kind: ColumnType, value: Any) -> str:
    if value is None:
        return ""
    match kind:
        case "text":
            return _text(value)
        case "nested":
            return _quoted(_encode(value))
        case "flag":
            return "true" if value else "false"
        case _:
            return str(value)


def _text(value: str) -> str:
    plain = value.replace("\0", "\ufffd")  # half of all readers end the cell at a NUL
    return _quoted("'" + plain if plain.startswith(_FORMULA) else plain)


def _quoted(text: str) -> str:
    if text and not any(mark in text for mark in ',"\n\r') and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'
