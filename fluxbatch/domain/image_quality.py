"""The search for near-duplicate images by their fingerprints (`sink.quality`).

Owns the thresholds and the search. An image is compared with those that were kept before it, never
with every other: two dHashes that differ in three bits are equal in two of five bands, colours
that are near lie in one cell or the next, and kept ones lie apart, so a hundred thousand take
seconds however alike they are. Pure functions on values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Protocol

from fluxbatch.domain.job import Quality

MOST_BITS = 3
"""Of the dHash's 64. Also the most that leaves two of five bands untouched."""
MOST_COLOUR = 16
"""Of 255, in each channel of each quarter. What both are measured by is in `sink.looks`: without
colours, a sweep of palettes over one control image would be one image."""
_BANDS = (0x1FFF, 0x1FFF << 13, 0x1FFF << 26, 0x1FFF << 39, 0xFFF << 52)
_KEYS = tuple(one | other for one, other in combinations(_BANDS, 2))
"""Two bands as one key: by one alone, images with a sky of one kind all meet (100,000 of them
took ten minutes)."""
_CELL = 2 * MOST_COLOUR + 1


class _Colours:
    """The kept images of one dHash, by the colour of their first quarter."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, ...], list[tuple[bytes, int]]] = {}

    def keep(self, colours: bytes, number: int) -> None:
        cell = tuple(value // _CELL for value in colours[:3])
        self._cells.setdefault(cell, []).append((colours, number))

    def near(self, colours: bytes) -> int | None:
        sides = (
            {(value - MOST_COLOUR) // _CELL, (value + MOST_COLOUR) // _CELL}
            for value in colours[:3]
        )
        for cell in product(*sides):
            for others, number in self._cells.get(cell, ()):
                if are_near(colours, others):
                    return number
        return None


def are_near(one: bytes, other: bytes) -> bool:
    for mine, theirs in zip(one, other, strict=True):  # a generator in all() takes three times this
        if not -MOST_COLOUR <= mine - theirs <= MOST_COLOUR:
            return False
    return True


def near_duplicates(fingerprints: Iterable[tuple[int, str]]) -> dict[int, int]:
    """Of (number, fingerprint) in order: each near-duplicate's number, and whom it resembles.

    That one was kept; a duplicate itself is nobody's original.
    """
    seen: dict[str, int] = {}
    shapes: dict[int, _Colours] = {}
    shelves: list[dict[int, list[int]]] = [{} for _ in _KEYS]
    found: dict[int, int] = {}
    for number, text in fingerprints:
        original = seen.get(text)
        if original is None:
            head, _, tail = text.partition("-")
            dhash, colours = int(head, 16), bytes.fromhex(tail)
            original = _near(dhash, colours, shapes, shelves)
            seen[text] = number if original is None else original
            if original is None:
                if dhash not in shapes:
                    shapes[dhash] = _Colours()
                    for key, shelf in zip(_KEYS, shelves, strict=True):
                        shelf.setdefault(dhash & key, []).append(dhash)
                shapes[dhash].keep(colours, number)
                continue
        found[number] = original
    return found


def _near(
    dhash: int,
    colours: bytes,
    shapes: Mapping[int, _Colours],
    shelves: Sequence[Mapping[int, Sequence[int]]],
) -> int | None:
    near = {
        other
        for key, shelf in zip(_KEYS, shelves, strict=True)
        for other in shelf.get(dhash & key, ())
        if (dhash ^ other).bit_count() <= MOST_BITS
    }
    numbers = (shapes[other].near(colours) for other in near)
    return min((number for number in numbers if number is not None), default=None)


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
