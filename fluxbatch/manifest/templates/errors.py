"""The errors of a template, and the bounds of its work.

Owns the bounds: a template is a program from somebody else, so neither its output nor the work
of making it may grow without end.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_CHARS = 100_000
"""Of a template, of what it becomes, and of every text on the way there."""
MAX_TEMPLATE_STEPS = 100_000
"""Of one expansion."""
_NEAR = 20


class BadTemplate(Exception):
    """A template that cannot become a prompt; the manifest makes it a bad row."""


def at(place: int, text: str) -> str:
    """Where in *text* it is: its character from 1, and how it goes on there."""
    shown = text[place : place + _NEAR]
    more = "…" if len(text) > place + _NEAR else ""
    return f"(character {place + 1}: {shown + more!r})"


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Why *name* is refused, with the nearest of *known*."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"there is no {name[:60]!r}; did you mean {near[0]!r}?"
    return f"there is no {name[:60]!r}; there are {', '.join(names)[:300] or 'no names at all'}"
