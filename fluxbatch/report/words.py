"""The text form of moments and shares in the report. Pure functions on plain values."""

from __future__ import annotations

_NOTHING = "\N{EN DASH}"


def each_words(amount: int, images: int) -> str:
    """`$0.025 an image`: four figures at most."""
    return f"${amount / images / 1_000_000:.4g}" if images and amount else _NOTHING


def seconds_words(seconds: float) -> str:
    """`0.4 s`, `8.5 s`, `42 s`."""
    return f"{seconds:.1f} s" if seconds < 20 and seconds % 1 else f"{seconds:.0f} s"


def utc_text_short(text: str | None) -> str:
    """`2026-11-22 18:04 UTC` of a ledger's time."""
    return f"{text[:10]} {text[11:16]} UTC" if text else _NOTHING
