"""Small real images of every type, noisy enough to be cut anywhere."""

from __future__ import annotations

import io
from random import Random
from typing import Any

from PIL import Image


def picture(kind: str, *, side: int = 24, seed: int = 1, **save: Any) -> bytes:
    noise = Random(seed).randbytes(side * side * 3)
    out = io.BytesIO()
    image = Image.frombytes("RGB", (side, side), noise)
    image.save(out, format={"jpg": "JPEG"}.get(kind, kind), **save)
    return out.getvalue()


def animation(kind: str, frames: int = 3) -> bytes:
    out = io.BytesIO()
    first, *others = (
        Image.frombytes("RGB", (16, 16), Random(n).randbytes(768)) for n in range(frames)
    )
    first.save(out, format=kind, save_all=True, append_images=others)
    return out.getvalue()
