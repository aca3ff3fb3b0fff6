"""How the report writes money, times and counts. Pure functions on plain values."""

from __future__ import annotations

from fluxbatch.money import Micros, as_usd

_NOTHING = "\N{EN DASH}"
_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def dollars(amount: int) -> str:
    """`$0.025`, `$1,250.00`."""
    whole, _, fraction = as_usd(Micros(abs(amount))).partition(".")
    return f"{'-' if amount < 0 else ''}${int(whole):,}.{fraction}"


def each_words(amount: int, images: int) -> str:
    """`$0.025 an image`: four figures at most."""
    return f"${amount / images / 1_000_000:.4g}" if images and amount else _NOTHING


def clock(seconds: float) -> str:
    """`0:42`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds_words(seconds: float) -> str:
    """`0.4 s`, `8.5 s`, `42 s`."""
    return f"{seconds:.1f} s" if seconds < 20 and seconds % 1 else f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """`8 s`, `4 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    for size, unit, part, smaller in _STEPS:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def moment(text: str | None) -> str:
    """`2026-11-22 18:04 UTC` of a ledger's time."""
    return f"{text[:10]} {text[11:16]} UTC" if text else _NOTHING


def file_size(amount: int) -> str:
    """`812 kB`, `1.4 GB`."""
    size = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1_000:
            return f"{size:.3g} {unit}"
        size /= 1_000
    return f"{size:,.1f} TB"
