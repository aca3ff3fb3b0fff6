"""The text form of money, times, sizes and words of a command, for terminals and pages.

Owns the figures; the words around them belong to each renderer. Pure functions on plain values.
"""

from __future__ import annotations

import os
import shlex

from fluxbatch.domain.money import Micros, as_usd

_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def dollars(amount: int) -> str:
    """`$0.025`, `$1,250.00`; of micro-dollars."""
    whole, _, fraction = as_usd(Micros(abs(amount))).partition(".")
    return f"{'-' if amount < 0 else ''}${int(whole):,}.{fraction}"


def duration(seconds: float) -> str:
    """`8 s`, `4 min 12 s`, `2 h 5 min`: two figures at most."""
    whole = round(seconds)
    for step, unit, next_step, next_unit in _STEPS:
        if whole >= step:
            rest = whole % step // next_step
            return f"{whole // step} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


def clock(seconds: float) -> str:
    """`0:42`, `1:02:03`; a second counts when it is over."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(amount_bytes: float) -> str:
    """`812 kB`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount_bytes < 1_000:
            return f"{amount_bytes:.3g} {unit}" if unit != "B" else f"{amount_bytes:.0f} B"
        amount_bytes /= 1_000
    return f"{amount_bytes:,.1f} TB"


def shortened(text: str, limit: int) -> str:
    """*text* on one line of at most *limit* characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shell_word(place: str | os.PathLike[str]) -> str:
    """A path or an address as one word of a command that is pasted into a shell.

    Quoted where a shell needs it; a path that begins as an option does is written as `./-x`.
    """
    text = os.fspath(place)
    return shlex.quote(f"./{text}" if text.startswith("-") and text != "-" else text)
