"""Money as integer micro-dollars.

Owns the one money type, its conversions (text in, text and `Decimal` out), and what a
cap is. A float never becomes money without passing through its shortest decimal form, and
nothing here knows what anything costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Literal, NewType, Self, overload

Micros = NewType("Micros", int)
"""Micro-dollars: 1 USD is 1,000,000."""

ZERO = Micros(0)

Scope = Literal["run", "day", "dataset"]
"""What a cap is on."""
SCOPES: tuple[Scope, ...] = ("run", "day", "dataset")
Caps = Mapping[Scope, Micros | None]

_PER_USD = 1_000_000
_MOST_USD = Decimal(10**9)


@lru_cache(maxsize=64, typed=True)
def usd(amount: str | float | Decimal) -> Micros:
    """Micro-dollars of a dollar amount; raise `ValueError` if it is no amount of money.

    Accepts what people type (`"1.50"`, `"$1.50"`) and what JSON carries (`0.025`). A comma is
    refused: to one it ends the dollars, to another the thousands, and a factor of a hundred lies
    between them. Fractions of a micro-dollar are rounded half up: the provider's own figures have
    none.
    """
    text = str(amount).strip()
    number = text.removeprefix("$").strip()
    if "," in number:
        raise ValueError(
            f"{text!r} has a comma and is not an amount of dollars; write it like 12.50"
        )
    try:
        value = Decimal(number) if number.isascii() else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if value.is_nan():
        raise ValueError(f"{text!r} is not an amount of dollars; write it like 12.50")
    if not 0 <= value <= _MOST_USD:
        raise ValueError(f"{text!r} is not an amount of dollars between 0 and {_MOST_USD}")
    return Micros(int((value * _PER_USD).quantize(Decimal(1), rounding=ROUND_HALF_UP)))


def as_usd(amount: Micros) -> str:
    """A decimal string without an exponent: at least cents, at most micro-dollars."""
    sign, whole = ("-", -amount) if amount < 0 else ("", amount)
    dollars, micros = divmod(whole, _PER_USD)
    fraction = f"{micros:06d}"
    return f"{sign}{dollars}.{fraction[:2]}{fraction[2:].rstrip('0')}"


def in_dollars(amount: Micros) -> Decimal:
    """The exact amount of dollars."""
    return Decimal(amount) / _PER_USD


class DollarsOf:
    """An amount of its owner, told as dollars: `spent_usd = DollarsOf("spent")`."""

    def __init__(self, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type) -> Decimal: ...

    def __get__(self, owner: object, kind: type) -> Self | Decimal:
        if owner is None:
            return self
        return in_dollars(getattr(owner, self._name))


class DollarsOrNone:
    """The same for an amount that may be None: nobody knows it, or there is no cap."""

    def __init__(self, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type) -> Decimal | None: ...

    def __get__(self, owner: object, kind: type) -> Self | Decimal | None:
        if owner is None:
            return self
        amount = getattr(owner, self._name)
        return None if amount is None else in_dollars(amount)


@dataclass(frozen=True, slots=True)
class Balance:
    """One cap and what counts against it. Source: docs/design/protocol.md 5."""

    scope: Scope
    key: str
    """The run's id, the day, or empty for the dataset."""
    cap: Micros | None
    reserved: Micros
    settled: Micros
    estimated: Micros

    cap_usd = DollarsOrNone("cap")
    reserved_usd = DollarsOf("reserved")
    settled_usd = DollarsOf("settled")
    estimated_usd = DollarsOf("estimated")
    committed_usd = DollarsOf("committed")

    @property
    def committed(self) -> Micros:
        return Micros(self.reserved + self.settled + self.estimated)
