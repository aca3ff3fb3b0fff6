"""Outputs as small as can be, each different: its hash shows whose picture it is."""

from __future__ import annotations

import hashlib
import io
import zlib
from functools import cache, lru_cache

from PIL import Image

from fluxbatch.emulator.messages import Picture

_SIDE = 4


@lru_cache(maxsize=4096)
def painted(picture: Picture) -> bytes:
    """The bytes of *picture*; equal ones are equal."""
    name = f"{picture.prompt}/{picture.seed}/{picture.index}"
    mark = hashlib.sha256(name.encode()).digest()
    if picture.format == "png":
        content = _png(mark)
    elif picture.format == "gif":
        content = _pillow("gif")
    else:
        # An unread chunk or trailing bytes tell equal pictures apart and cost no encoder.
        content = _marked(_pillow(picture.format), picture.format, mark)
    return content[: int(len(content) * picture.kept_share)]


def _png(mark: bytes) -> bytes:
    row = _SIDE * 3
    pixels = (mark * 2)[: row * _SIDE]
    raw = b"".join(b"\0" + pixels[n * row : (n + 1) * row] for n in range(_SIDE))
    head = _SIDE.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    parts = [_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(raw, 1)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return len(data).to_bytes(4, "big") + name + data + checksum.to_bytes(4, "big")


@cache
def _pillow(name: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (8, 8), "teal")
    image.save(buffer, {"jpg": "jpeg"}.get(name, name))
    return buffer.getvalue()


def _marked(content: bytes, name: str, mark: bytes) -> bytes:
    if name == "jpg":  # a comment after the start of the image
        return content[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark + content[2:]
    if name == "webp":
        body = content[8:] + b"MARK" + len(mark).to_bytes(4, "little") + mark
        return b"RIFF" + len(body).to_bytes(4, "little") + body
    return content


def sha256_of(picture: Picture) -> str:
    return hashlib.sha256(painted(picture)).hexdigest()


@cache
def painted_control(number: int) -> bytes:
    """A control image."""
    return _png(hashlib.sha256(f"control {number}".encode()).digest())
