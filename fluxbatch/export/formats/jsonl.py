"""JSON lines: one object a line, every column in every line, what is nested as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, Final

from fluxbatch.export.columns import COLUMNS, ExportRecord, JsonTexts, SamplePage, same_throughout
from fluxbatch.export.formats.base import LineFormat, Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import mark_of

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Legal within JSON, but some readers end a line at them."""
_LINE = "{" + ",".join(f'"{name}":%s' for name in COLUMNS) + "}\n"


def line_of(record: ExportRecord) -> bytes:
    """One line, its end included."""
    return _finished(_encode(record) + "\n")


def _lines_of(columns: Mapping[str, Sequence[Any]], texts: JsonTexts) -> bytes:
    """The same of many records, column by column."""
    cells = [
        _json_cells(values, texts[name]) if name in texts else _cells(values)
        for name, values in columns.items()
    ]
    return _finished("".join(map(_LINE.__mod__, zip(*cells, strict=True))))


def _json_cells(values: Sequence[Any], texts: Sequence[str | None]) -> list[str]:
    return [text or _nested(value) for value, text in zip(values, texts, strict=True)]


def _cells(values: Sequence[Any]) -> list[str]:
    if same_throughout(values):
        return [_encode(values[0])] * len(values)
    return [_BY_TYPE.get(type(value), _encode)(value) for value in values]


def _nested(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return _encode(value) if value else str(value)


_BY_TYPE: Mapping[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: str,
    dict: _nested,
    list: _nested,
}
"""Quicker than to begin an encoding anew for each."""


def _finished(text: str) -> bytes:
    if not text.isascii():
        for end, escape in _LINE_ENDS.items():
            text = text.replace(end, escape)
    return text.encode()


class Jsonl(LineFormat):
    """Money is a decimal text, an absent value is null."""

    name: Final = "jsonl"
    identity: Final = "jsonl 1"
    shard_size: Final = None
    most: Final = None
    holds_images: Final = False
    needs_image: Final = False
    patterns: Final = ("*-??????.jsonl", ".fluxbatch/*-??????.json")
    data_files: Final = "SPLIT-*.jsonl"
    heading: Final = b""

    def __init__(self, images: SampleImages | None = None, *, embed: bool = False) -> None:
        """Of text alone: it needs neither."""

    def mark(self, stem: Stem) -> str:
        return mark_of(str(stem))

    def line(self, record: ExportRecord) -> bytes:
        return line_of(record)

    def lines(self, page: SamplePage) -> bytes:
        return _lines_of(page.columns, page.texts)
