"""The check of the caps before one more create. Source: docs/design/protocol.md 5."""

from __future__ import annotations

from collections.abc import Sequence

from fluxbatch.domain.money import Balance, Micros


def admit(lines: Sequence[Balance], price: Micros) -> Balance | None:
    """The first cap without room for *price*, or None. Reserved and estimated money count."""
    for line in lines:
        if line.cap is not None and line.committed + price > line.cap:
            return line
    return None
