"""What a pass over a manifest has met before, in memory that a million rows cannot fill.

Owns a table of 64-bit hashes. A Python set of a million texts takes about 150 MB, this takes 24;
the price is that two different keys look equal once in some 40 million manifests of a million rows.
"""

from __future__ import annotations

from array import array

_HASH = 2**64 - 1
_FEWEST_SLOTS = 1024
_FULL = 0.75
"""Of the slots taken, where the table doubles."""


class SeenHashes:
    """Keys met so far, each with a mark from when it was first met (a line, say)."""

    __slots__ = ("_count", "_hashes", "_marks", "_mask", "_room")

    def __init__(self) -> None:
        self._count = 0
        self._resize(_FEWEST_SLOTS)

    def __len__(self) -> int:
        """How many different keys were met."""
        return self._count

    def first(self, key: str | bytes, mark: int = 1) -> int:
        """The mark *key* was first met with; 0 if that is now. Marks are 1 to 2**32 - 1."""
        hashed = hash(key) & _HASH or 1  # 0 is an empty slot
        hashes, mask = self._hashes, self._mask
        slot = hashed & mask
        while (found := hashes[slot]) != hashed:
            if not found:
                hashes[slot] = hashed
                self._marks[slot] = mark
                self._count += 1
                if self._count > self._room:
                    self._grow()
                return 0
            slot = (slot + 1) & mask
        return self._marks[slot]

    def _resize(self, slots: int) -> None:
        self._hashes = array("Q", [0]) * slots
        self._marks = array("I", [0]) * slots
        self._mask = slots - 1
        self._room = int(slots * _FULL)

    def _grow(self) -> None:
        hashes, marks = self._hashes, self._marks
        self._resize(2 * len(hashes))
        grown, mask = self._hashes, self._mask
        for hashed, mark in zip(hashes, marks, strict=True):
            if hashed:
                slot = hashed & mask
                while grown[slot]:
                    slot = (slot + 1) & mask
                grown[slot] = hashed
                self._marks[slot] = mark
