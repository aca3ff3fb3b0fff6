"""Whether an image has the size that its job asked for.

Owns the reading of the inputs that ask for one: `width` with `height`, or `megapixels`. An input
that nobody gave asks for nothing, and the shape is the control image's, so that is not judged.
"""

from __future__ import annotations

import json
from typing import Protocol

from fluxbatch.job import Quality

_PIXELS = 1_000_000
_FACTOR = 1.5
"""0.25 and 1 megapixel are a factor of 4 apart; what people call a megapixel is 1,048,576, and
sides are rounded to steps of 16 or 32."""


class Sized(Protocol):
    """Something with a width and a height in pixels."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


def size_notes(given: str, made: Sized) -> tuple[Quality, ...]:
    """`Quality.SIZE` where *made* is not what the input *given* (JSON) asks for."""
    if '"megapixels"' not in given and '"width"' not in given:  # parsing costs more than looking
        return ()
    asked = json.loads(given)
    return () if _is_as_asked(asked, made) else (Quality.SIZE,)


def _is_as_asked(asked: dict[str, object], made: Sized) -> bool:
    width, height = asked.get("width"), asked.get("height")
    if isinstance(width, int) and isinstance(height, int):
        return (made.width, made.height) == (width, height)
    try:
        pixels = float(str(asked["megapixels"])) * _PIXELS
    except (KeyError, ValueError):
        return True  # "match_input" and its like name no size
    return pixels / _FACTOR <= made.width * made.height <= pixels * _FACTOR
