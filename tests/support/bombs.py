"""Images that cost far more to decode than their files tell."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def gif_that_grows(side: int, frames: int = 1) -> bytes:
    """A first frame of one pixel, and then *frames* of *side* by *side*."""
    tiny, large = io.BytesIO(), io.BytesIO()
    Image.new("P", (1, 1)).save(tiny, "GIF")
    Image.new("P", (side, side)).save(large, "GIF")
    first, next_one = tiny.getvalue(), large.getvalue()
    start = 13 + (3 << ((next_one[10] & 7) + 1) if next_one[10] & 0x80 else 0)
    return first[:-1] + next_one[start:-1] * frames + b";"


def jpg_of_scans(scans: int, side: int = 256, *, is_flat: bool = False) -> bytes:
    """A progressive jpg whose last scan stands there again and again; a flat one is a small file
    that takes as long."""
    out = io.BytesIO()
    image = Image.new("L", (side, side), 99) if is_flat else Image.effect_noise((side, side), 90)
    image.convert("RGB").save(out, "JPEG", progressive=True)
    content = out.getvalue()
    at = content.rfind(b"\xff\xda")
    last = content[at:-2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + b"\xff\xd9"


def avif_of_false_size(side: int) -> bytes:
    """*side* by *side*, and says that it is 8 by 8."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, "AVIF", speed=10)
    content = out.getvalue()
    return content.replace(struct.pack(">II", side, side), struct.pack(">II", 8, 8))


def webp_of_frames(side: int, frames: int) -> bytes:
    out = io.BytesIO()
    colours = [Image.new("RGB", (side, side), (n % 256, 0, 0)) for n in range(frames)]
    colours[0].save(out, "WEBP", save_all=True, append_images=colours[1:], lossless=True)
    return out.getvalue()


def apng_of_frames(side: int, frames: int) -> bytes:
    out = io.BytesIO()
    colours = [Image.new("L", (side, side), n % 256) for n in range(frames)]
    colours[0].save(out, "PNG", save_all=True, append_images=colours[1:])
    return out.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A few rows of what its header promises."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(width + 1) * min(height, 4))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
