"""Money in what the Python API answers: dollars beside micro-dollars, wherever there is any."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from types import NoneType
from typing import Any, get_args, get_type_hints

import polars
import pytest

from fluxbatch import Dataset, plan, run
from fluxbatch.domain.money import Balance, DollarsOf, DollarsOrNone, Micros, in_dollars
from fluxbatch.events import EVENT_NAMES

_FOR_TYPES = {"polars": polars}
"""Modules that are imported for their types alone."""


def test_an_amount_of_money_has_its_dollars_beside_it_wherever_it_is_answered() -> None:
    """
    Every value that a method answers or an event brings, and all that is in them.
    """
    found = {(kind, name): hint for kind in answered() for name, hint in amounts_of(kind)}

    assert len(found) > 25
    assert [
        f"{kind.__qualname__}.{name}"
        for (kind, name), hint in found.items()
        if in_usd(kind, name) != (Decimal if hint is Micros else Decimal | None)
    ] == []


def test_an_amount_without_dollars_is_found() -> None:
    @dataclasses.dataclass
    class Bill:
        paid: Micros
        left: Micros | None

        paid_usd = DollarsOf("paid")

        @property
        def half(self) -> Micros:
            return Micros(self.paid // 2)

    assert dict(amounts_of(Bill)) == {
        "paid": Micros, "left": Micros | None, "half": Micros,
    }  # fmt: skip
    assert Bill(Micros(1), None).paid_usd == Decimal("0.000001")


@pytest.mark.parametrize(
    ("micros", "dollars"), [(0, "0"), (1, "0.000001"), (-25_000, "-0.025"), (10**15, "1000000000")]
)
def test_dollars_are_exact(micros: int, dollars: str) -> None:
    assert in_dollars(Micros(micros)) == Decimal(dollars)


def test_what_nobody_knows_stays_none() -> None:
    """
    No cap is not a cap of nothing.
    """
    balance = Balance("run", "r", None, Micros(1_000_000), Micros(250_000), Micros(0))

    assert (balance.cap_usd, balance.committed_usd) == (None, Decimal("1.25"))


def answered() -> set[type]:
    """The package's own classes within what methods answer and events bring."""
    methods: list[Any] = [plan, run, *(value for _, value in inspect.getmembers(Dataset, callable))]
    hints = [hint for method in methods for hint in returned(method)]
    waiting, seen = [*classes_in(hints), *EVENT_NAMES], set[type]()
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += classes_in(hints_of(kind).values())
    return seen


def returned(method: Callable[..., Any]) -> Iterator[Any]:
    if not str(getattr(method, "__module__", "")).startswith("fluxbatch."):
        return
    yield get_type_hints(method, localns=_FOR_TYPES).get("return")


def classes_in(hints: Iterable[Any]) -> Iterator[type]:
    for hint in hints:
        if isinstance(hint, type) and hint.__module__.startswith("fluxbatch."):
            yield hint
        yield from classes_in(get_args(hint))


def hints_of(kind: type) -> dict[str, Any]:
    """Its fields and properties, each with its type."""
    properties = {
        name: get_type_hints(value.fget, localns=_FOR_TYPES).get("return")
        for name, value in inspect.getmembers(kind)
        if isinstance(value, property)
    }
    if not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return properties
    return {**get_type_hints(kind), **properties}


def amounts_of(kind: type) -> Iterator[tuple[str, Any]]:
    for name, hint in hints_of(kind).items():
        if hint is Micros or get_args(hint) == (Micros, NoneType):
            yield name, hint


def in_usd(kind: type, name: str) -> Any:
    """What an amount's dollars are; None where there are none."""
    match inspect.getattr_static(kind, f"{name}_usd", None):
        case DollarsOf():
            return Decimal
        case DollarsOrNone():
            return Decimal | None
    return hints_of(kind).get(f"{name}_usd")
