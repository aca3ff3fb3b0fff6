"""Compact memory of the keys a pass over a manifest has met, sized for a million rows.

Owns tables of 64-bit hashes. A Python set of a million texts takes about 150 MB, this takes 24;
the price is that two different keys look equal once in some 40 million manifests of a million rows.
"""

from __future__ import annotations

from array import array

_HASH = 2**64 - 1
_TABLES = 64
"""Each doubles by itself, so that only a little stands in memory twice at any time."""
_FEWEST_SLOTS = 32
_FULL = 0.75
"""Of the slots taken, where a table doubles."""


class CompactMap:
    """Keys met so far, each with a mark from when it was first met (a line, say)."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables = [_Table() for _ in range(_TABLES)]

    def __len__(self) -> int:
        """How many different keys were met."""
        return sum(table.count for table in self._tables)

    def setdefault(self, key: str | bytes, mark: int = 1) -> int:
        """The mark *key* was first met with; 0 if that is now. Marks are 1 to 2**32 - 1."""
        hashed = hash(key) & _HASH or 1  # 0 is an empty slot
        return self._tables[hashed % _TABLES].setdefault(hashed, mark)


class _Table:
    """The hashes that leave one remainder."""

    __slots__ = ("_hashes", "_marks", "_mask", "_room", "count")

    def __init__(self) -> None:
        self.count = 0
        self._resize(_FEWEST_SLOTS)

    def setdefault(self, hashed: int, mark: int) -> int:
        hashes, mask = self._hashes, self._mask
        slot = hashed // _TABLES & mask
        while (found := hashes[slot]) != hashed:
            if not found:
                hashes[slot] = hashed
                self._marks[slot] = mark
                self.count += 1
                if self.count > self._room:
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
                slot = hashed // _TABLES & mask
                while grown[slot]:
                    slot = (slot + 1) & mask
                grown[slot] = hashed
                self._marks[slot] = mark


class NumberSet:
    """Numbers met so far, a byte for each up to the highest: of rows that a database numbers."""

    __slots__ = ("_met",)

    def __init__(self) -> None:
        self._met = bytearray()

    def add(self, number: int) -> bool:
        """Whether *number*, from 0, is met for the first time."""
        met = self._met
        if number >= len(met):
            met.extend(bytes(number + 1))  # doubles, where numbers come in order
        if met[number]:
            return False
        met[number] = 1
        return True
