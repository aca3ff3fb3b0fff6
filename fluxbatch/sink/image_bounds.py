"""The bounds on what decoding an image may cost, and the images sure to stay far below.

Owns the bounds, and the look at a file's structure that needs no decoder: an ordinary image is
decoded where it is, any other one in a process that can be stopped (`decode_process`).
"""

from __future__ import annotations

import io
from typing import IO

MAX_FRAMES = 10_000
MAX_SCANS = 100
"""Of a progressive jpg: encoders write about ten, and each is decoded over the whole image."""
ORDINARY_PIXELS = 20_000_000
_ORDINARY_BYTES = 16_000_000
_ORDINARY_SCANS = 20
_SCAN = b"\xff\xda"
_GIF_SCREEN_BYTES, _GIF_FRAME_BYTES = 13, 9
_BLOCK_BYTES = 1024 * 1024


def memory_for(pixels: int, file_bytes: int) -> int:
    """Bytes that decoding an image of so many pixels, by its own words, may need.

    A canvas, the frame before it, the decoder's own copies and a grey one to look at.
    """
    return 96 * 1024 * 1024 + 2 * file_bytes + 24 * pixels


def is_ordinary(mime: str, stream: IO[bytes]) -> bool:
    """Whether decoding it takes a second and little memory, whatever is in it; leaves *stream* at
    its start. How many pixels and frames it has is to be looked at besides."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if size > _ORDINARY_BYTES:
        return False
    head = stream.read(32)
    stream.seek(0)
    match mime:
        case "image/png":
            return True
        case "image/jpeg":
            return scans_of(stream) <= _ORDINARY_SCANS
        case "image/webp":
            return _webp_pixels(head) <= ORDINARY_PIXELS
        case _:
            return False


def scans_of(stream: IO[bytes]) -> int:
    """How many scans a jpg has at most; leaves *stream* at its start.

    Within a scan the marker cannot stand, but it may in what is stored beside the image.
    """
    found, last = 0, b""
    while block := stream.read(_BLOCK_BYTES):
        found += (last + block).count(_SCAN)
        last = block[-1:] if block[-1:] == _SCAN[:1] else b""
    stream.seek(0)
    return found


def gif_extent(stream: IO[bytes]) -> tuple[int, int, int]:
    """Width and height that hold every frame of a gif, and how many frames it has; leaves
    *stream* at its start. The size in its first bytes binds no later frame."""
    content = stream.read()
    stream.seek(0)
    width, height = _number(content, 6), _number(content, 8)
    at = _GIF_SCREEN_BYTES + _colours(content[10] if len(content) > 10 else 0)
    frames = 0
    while at < len(content) and frames <= MAX_FRAMES:
        mark = content[at]
        if mark == 0x2C:
            frames += 1
            width = max(width, _number(content, at + 1) + _number(content, at + 5))
            height = max(height, _number(content, at + 3) + _number(content, at + 7))
            packed = content[at + _GIF_FRAME_BYTES] if at + _GIF_FRAME_BYTES < len(content) else 0
            at = _after_blocks(content, at + _GIF_FRAME_BYTES + 2 + _colours(packed))
        elif mark == 0x21:
            at = _after_blocks(content, at + 2)
        elif mark == 0x3B:
            break
        else:
            at += 1
    return width, height, max(frames, 1)


def _after_blocks(content: bytes, at: int) -> int:
    while at < len(content) and content[at]:
        at += 1 + content[at]
    return at + 1


def _colours(packed: int) -> int:
    """Bytes of the colour table that a packed field tells of."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _number(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "little")


def _webp_pixels(head: bytes) -> int:
    """Of the canvas, by the first chunk; more than any where it is animated or not understood."""
    if head[12:16] == b"VP8X" and not head[20] & 2:
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    elif head[12:16] == b"VP8 ":
        width, height = _number(head, 26) & 0x3FFF, _number(head, 28) & 0x3FFF
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return ORDINARY_PIXELS + 1
    return width * height
