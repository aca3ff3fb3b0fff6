"""The words by which a run at work is changed (`fluxbatch ctl`), read and refused in one way."""

from __future__ import annotations

from collections.abc import Collection

from fluxbatch.domain.formatting import shortened
from fluxbatch.domain.money import Micros, usd
from fluxbatch.errors import ConfigError

CHANGE_EVENT = "control: "
"""How the history's line of a change begins; what follows says what was changed."""
ADD_KEY = "add-key"
"""The one command that brings something secret, beside its value."""
REASON_CHARS_SHOWN = 200
"""Of a reason, where people are shown it among other lines."""
_MOST_REASON_CHARS = 4_000
_MOST_DIGITS = 15
"""More than anything here can be counted."""


def asked_limit(name: str, text: str) -> int:
    """The number of `limits.creates N` and `limits.slots N`; raise `ConfigError`."""
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text):
        return int(text)
    raise ConfigError(f"{name} {text!r}: write a whole number from 1 to {10**_MOST_DIGITS - 1:,}")


def asked_budget(text: str) -> Micros:
    """The amount of `budget USD`; raise `ConfigError`."""
    try:
        return usd(text)
    except ValueError as exc:
        raise ConfigError(f"budget {text!r}: {exc}") from None


def asked_lane(text: str, labels: Collection[str]) -> tuple[str, bool]:
    """The label of `lane LABEL on|off`, and whether it is to be off; raise `ConfigError`."""
    label, _, word = text.rpartition(" ")
    if label not in labels or word not in {"on", "off"}:
        known = ", ".join(repr(one) for one in sorted(labels))
        raise ConfigError(f"lane {text!r}: name a lane ({known}) and on or off")
    return label, word == "off"


def asked_reason(text: str) -> str:
    """A reason on one line, without what a terminal would obey; raise `ConfigError` for a book."""
    if len(text) > _MOST_REASON_CHARS:
        raise ConfigError(
            f"the reason has {len(text):,} characters; write at most {_MOST_REASON_CHARS:,}"
        )
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def because(reason: str) -> str:
    """The end of a sentence that says why somebody asked for it; empty where nobody did.

    A long reason is shortened: the ledger has the whole of it.
    """
    return f": {shortened(reason, REASON_CHARS_SHOWN)}" if reason else ""
