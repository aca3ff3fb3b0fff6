"""Image types by magic bytes, and whether the end of the file is there.

Owns that reading, for images that are sent and for those that are received. Decodes nothing: the
code that uses the image checks what is between.
"""

from __future__ import annotations

import io
from typing import IO

MAX_FETCHED_BYTES = 50_000_000
"""A control image may have at most so many.

Source: docs/design/provider-api.md "Uploads".
"""
HEAD_BYTES = 32
"""First bytes that any of the types here is known by."""

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_TAIL_BYTES = 65_536


def sniff(head: bytes) -> str | None:
    """The type that the first bytes show; None where it is no image known here."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return "image/gif"
    if head[4:12] in {b"ftypavif", b"ftypavis"}:
        return "image/avif"
    return None


def is_complete(mime: str, stream: IO[bytes]) -> bool:
    """Whether the end of *stream*, an image of that type, is there; leaves it at its start.

    Decoders forgive a lost end as long as every pixel is there. Of avif it is not known: it is
    read by the lengths of its boxes.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read()
    stream.seek(0)
    match mime:
        case "image/jpeg":
            return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")  # a thumbnail has an end too
        case "image/png":
            return _PNG_END in tail
        case "image/gif":
            return tail.rstrip(b"\0\r\n").endswith(b";")
        case "image/webp":
            return size >= int.from_bytes(head[4:8], "little") + 8
        case _:
            return True
