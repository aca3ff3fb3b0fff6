"""The readings of a body that came encoded, or was said to be.

Owns what servers do to bytes on their way although nobody asked: gzip, deflate, zstd, the framing
of `aws-chunked`, base64. A header says nothing here: it is wrong in both directions, so the bytes
decide, and whoever asks takes the first reading that is what it wants. Bounded, whatever came.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
import zlib
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import unquote_to_bytes

_MAX_LAYERS = 3
_ANY_HEADER = zlib.MAX_WBITS | 32
"""zlib and gzip alike."""
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]{0,200})?\r\n")
_BASE64 = re.compile(rb"\s*[A-Za-z0-9+/_-]{16}[A-Za-z0-9+/_=\s-]*")
_DATA_URL = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)


def readings(content: bytes, most_bytes: int) -> Iterator[bytes]:
    """What *content* is once it is unpacked, layer by layer; itself is not among them.

    Each has at most *most_bytes*: what would be more is none.
    """
    for _ in range(_MAX_LAYERS):
        inner = _unpacked(content, most_bytes)
        if inner is None or not 0 < len(inner) <= most_bytes:
            return
        yield inner
        content = inner


def inline_content(place: str) -> bytes | None:
    """The bytes that an output holds itself, as a `data:` URL or bare base64; None where *place*
    is an address."""
    if (found := _DATA_URL.match(place)) is not None:
        body = place[found.end() :]
        if found[1].lower().replace(" ", "").endswith(";base64"):
            return _from_base64(unquote_to_bytes(body))
        return unquote_to_bytes(body)
    if "://" in place[:30]:
        return None
    return _from_base64(place.encode("utf-8", "replace"))


def _unpacked(content: bytes, most_bytes: int) -> bytes | None:
    """One layer less; None where there is none that is known."""
    if content[:2] == b"\x1f\x8b" or _begins_zlib(content):
        return _inflated(content, most_bytes, _ANY_HEADER)
    if content[:4] == b"\x28\xb5\x2f\xfd":
        return _from_zstd(content, most_bytes)
    if _CHUNK.match(content) is not None and (inner := _dechunked(content)) is not None:
        return inner
    if _BASE64.fullmatch(content[:200]) is not None:
        return _from_base64(content)
    return _inflated(content, most_bytes, -zlib.MAX_WBITS)  # deflate without any header


def _begins_zlib(content: bytes) -> bool:
    return len(content) > 2 and content[0] == 0x78 and int.from_bytes(content[:2], "big") % 31 == 0


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def _inflated(content: bytes, most_bytes: int, bits: int) -> bytes | None:
    """All of it, or None: half an image would be worth less than the bytes as they came."""
    unpacker = zlib.decompressobj(bits)
    try:
        found = unpacker.decompress(content, most_bytes + 1)
    except zlib.error:
        return None
    return found if unpacker.eof and len(found) <= most_bytes else None


def _from_zstd(content: bytes, most_bytes: int) -> bytes | None:
    unpacker: _Inflater
    try:
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdDecompressor, ZstdError
        else:
            from backports.zstd import ZstdDecompressor, ZstdError
    except ImportError:
        return None
    unpacker = ZstdDecompressor()
    try:
        found = unpacker.decompress(content, most_bytes + 1)
    except (ZstdError, MemoryError):
        return None
    return found if unpacker.eof and len(found) <= most_bytes else None


def _dechunked(content: bytes) -> bytes | None:
    """Without the frames of `aws-chunked`, or of a chunked body that a proxy left in place."""
    parts: list[bytes] = []
    at = 0
    while (frame := _CHUNK.match(content, at)) is not None:
        size, begin = int(frame[1], 16), frame.end()
        if size == 0:
            return b"".join(parts)
        parts.append(content[begin : begin + size])
        at = begin + size
        if content[at : at + 2] != b"\r\n":
            return None
        at += 2
    return None


def _from_base64(text: bytes) -> bytes | None:
    plain = re.sub(rb"\s+", b"", text).translate(bytes.maketrans(b"-_", b"+/"))
    if _BASE64.fullmatch(plain[:200]) is None:
        return None
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None
