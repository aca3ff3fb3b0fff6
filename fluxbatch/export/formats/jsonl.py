"""JSON lines: one object a line, every column in every line, what is nested as it is."""

from __future__ import annotations

import json
from typing import Final

from fluxbatch.export.columns import ExportRecord
from fluxbatch.export.formats.base import LineFormat, Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import mark_of

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""Legal within JSON, but some readers end a line at them."""


def line_of(record: ExportRecord) -> bytes:
    """One line, its end included."""
    text = _encode(record)
    if not text.isascii():
        text = text.translate(_LINE_ENDS)
    return (text + "\n").encode()


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
