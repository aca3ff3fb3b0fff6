"""The keys under which an image's fingerprint is kept, so that its near-duplicates are found.

Owns how a fingerprint becomes keys, and which images may be near-duplicates of any other: all that
are one, all that one resembles, and a few more. The search itself (`image_quality`) needs to see no
others. Pure functions on values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from fluxbatch.domain.image_quality import MOST_BITS, MOST_COLOUR, are_near

MOST_UNDER_KEY = 16
"""Of more images under one key every one counts as resembling, unseen: a sweep under one sky."""
_FINGERPRINT = re.compile("([0-9a-f]{16})-([0-9a-f]{24})")
_QUARTERS = 4
"""Of the dHash: three bits that differ leave one of four untouched."""
_QUARTER_BITS = 64 // _QUARTERS
_CELL = 2 * MOST_COLOUR + 1
_CELLS = 255 // _CELL + 1
_FIRST_GREEN, _LAST_GREEN = 1, 10
"""Of the colours: of the first quarter and of the last, which differ most of all."""


class Fingerprint(NamedTuple):
    """A fingerprint taken apart."""

    dhash: int
    colours: bytes

    @classmethod
    def parsed(cls, text: str) -> Fingerprint | None:
        """None for what is none, as a stranger's ledger may have it."""
        found = _FINGERPRINT.fullmatch(text)
        return None if found is None else cls(int(found[1], 16), bytes.fromhex(found[2]))

    def resembles(self, other: Fingerprint) -> bool:
        """Whether one would be a near-duplicate of the other, as `near_duplicates` has it."""
        is_near = (self.dhash ^ other.dhash).bit_count() <= MOST_BITS
        return is_near and are_near(self.colours, other.colours)

    def own_keys(self) -> list[int]:
        """Under which it is kept, a quarter of the dHash each, with its colours' cell."""
        first, last = self.colours[_FIRST_GREEN], self.colours[_LAST_GREEN]
        return list(self._keys(((first // _CELL, last // _CELL),)))

    def keys_near(self) -> list[int]:
        """Under one of which whatever resembles it is kept: a colour may be in two cells."""
        return list(self._keys(tuple(product(self._near(_FIRST_GREEN), self._near(_LAST_GREEN)))))

    def _near(self, place: int) -> set[int]:
        value = self.colours[place]
        return {max(value - MOST_COLOUR, 0) // _CELL, min(value + MOST_COLOUR, 255) // _CELL}

    def _keys(self, cells: Sequence[tuple[int, int]]) -> Iterator[int]:
        for quarter in range(_QUARTERS):
            bits = self.dhash >> quarter * _QUARTER_BITS & (1 << _QUARTER_BITS) - 1
            for first, last in cells:
                yield ((quarter << _QUARTER_BITS | bits) * _CELLS + first) * _CELLS + last


class Compared(NamedTuple):
    """What a look at new images found."""

    resembling: set[int]
    """All, new or not, that may be a near-duplicate or the original of one."""
    kept: list[tuple[int, int]]
    """Key and number to be kept from now on."""


def compare(new: Mapping[int, str], shelves: dict[int, list[tuple[int, Fingerprint]]]) -> Compared:
    """Compare the *new* fingerprints, by number, with those on *shelves* and with each other.

    *shelves* has what is kept under every key of `keys_near`, and is added to; at most one more
    than `MOST_UNDER_KEY` are kept under one.
    """
    resembling, kept = set[int](), list[tuple[int, int]]()
    for number, text in new.items():
        mine = Fingerprint.parsed(text)
        if mine is None:
            resembling.add(number)  # whoever looks at it says what is wrong
            continue
        for key in mine.keys_near():
            others = shelves.get(key, ())
            if len(others) > MOST_UNDER_KEY:
                resembling.add(number)
                continue
            for other, fingerprint in others:
                if number in resembling and other in resembling:
                    continue
                if mine.resembles(fingerprint):
                    resembling |= {number, other}
        for key in mine.own_keys():
            shelf = shelves.setdefault(key, [])
            if len(shelf) > MOST_UNDER_KEY:
                continue
            shelf.append((number, mine))
            kept.append((key, number))
            if len(shelf) > MOST_UNDER_KEY:
                resembling.update(other for other, _ in shelf)
    return Compared(resembling, kept)
