"""The output of `keys --check`: each key's state at the provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fluxbatch.maintenance.key_check import CheckedKey

_FINGERPRINT_CHARS = 6


def health_lines(keys: Sequence[CheckedKey]) -> Iterator[str]:
    """A line a key, under a header."""
    names = [(key.key.label, _short(key), _account(key), key.health) for key in keys]
    rows = [("label", "fingerprint", "account", "health"), *names]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[3]]).rstrip()


def health_json(key: CheckedKey) -> dict[str, Any]:
    """One key as programs get it."""
    return {
        "label": key.key.label,
        "fingerprint": key.key.fingerprint,
        "account": key.key.account,
        "works": key.works,
        "health": key.health,
    }


def _short(key: CheckedKey) -> str:
    return key.key.fingerprint[:_FINGERPRINT_CHARS]


def _account(key: CheckedKey) -> str:
    return "its own" if key.key.account == key.key.fingerprint else key.key.account
