"""The output text of one expansion, its draws, and the budget of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fluxbatch.manifest.templates.errors import MAX_TEMPLATE_STEPS, MOST_CHARS, BadTemplate

_BITS = 128
_GUARDS = {ord(sign): 0xFDD0 + number for number, sign in enumerate("{}|$_\\")}
"""Code points that Unicode keeps for a program's own use: no text that is sent has them."""
_BACK = {guard: chr(sign) for sign, guard in _GUARDS.items()}


def guarded(text: str) -> str:
    """*text*, so that the grammar takes none of its signs for its own."""
    return text.translate(_GUARDS)


def unguarded(text: str) -> str:
    """What was guarded, as it was."""
    return text.translate(_BACK)


class OutputBuffer:
    """Grows piece by piece, up to a length and a number of steps."""

    __slots__ = ("_chars", "_pieces", "_steps", "names")

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        """What `${name}` stands for here and now."""
        self._pieces: list[str] = []
        self._chars = 0
        self._steps = 0

    def step(self) -> None:
        self._steps += 1
        if self._steps > MAX_TEMPLATE_STEPS:
            raise BadTemplate(f"takes more than {MAX_TEMPLATE_STEPS:,} steps to expand")

    def add(self, piece: str) -> None:
        self._chars += len(piece)
        if self._chars > MOST_CHARS:
            raise BadTemplate(f"becomes longer than {MOST_CHARS:,} characters")
        self._pieces.append(piece)

    def mark(self) -> int:
        return len(self._pieces)

    def cut(self, mark: int) -> str:
        """Take back what was added since *mark*."""
        piece = "".join(self._pieces[mark:])
        del self._pieces[mark:]
        self._chars -= len(piece)
        return piece

    def __str__(self) -> str:
        return "".join(self._pieces)


class SeededDraw:
    """Numbers that a seed decides, the same on every machine and in every Python."""

    __slots__ = ("_drawn", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = hashlib.sha256(b"fluxbatch draw" + seed).digest()
        self._drawn = 0

    def below(self, limit: int) -> int:
        """From 0 to *limit* - 1, which is at most 2**64: the bias is beyond notice."""
        digest = hashlib.sha256(self._seed + self._drawn.to_bytes(8, "big")).digest()
        self._drawn += 1
        return int.from_bytes(digest[: _BITS // 8], "big") * limit >> _BITS
