"""Money is integer micro-dollars; no float ever counts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.domain.money import ZERO, Micros, as_usd, usd


@pytest.mark.parametrize(
    ("amount", "micros"),
    [
        ("0.025", 25_000),
        (0.025, 25_000),
        ("$1.50", 1_500_000),
        ("1_000", 1_000_000_000),
        (Decimal("0.0000005"), 1),
        ("0", 0),
        (" 12.5 ", 12_500_000),
        (3, 3_000_000),
    ],
)
def test_amounts_are_read_as_people_write_them(amount: str | float, micros: int) -> None:
    """Exactly, with half a micro-dollar rounded up."""
    assert usd(amount) == micros


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "abc",
        "-1",
        "nan",
        "-inf",
        "inf",
        "1e12",
        "1.2.3",
        "1,50",
        "1,000",
        "0,02",
        "١٢",
        "$",
        True,
    ],
)
def test_what_is_no_amount_is_refused(amount: str | float) -> None:
    """With the value quoted; a comma is the cents of one and the thousands of another."""
    with pytest.raises(ValueError, match=r"is not an amount of dollars"):
        usd(amount)


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0.00"), (25_000, "0.025"), (1_500_000, "1.50"), (1, "0.000001"), (-25_000, "-0.025")],
)
def test_amounts_are_shown_without_an_exponent(micros: int, text: str) -> None:
    """At least cents, at most micro-dollars."""
    assert as_usd(Micros(micros)) == text


@given(st.integers(0, 10**15))
def test_what_is_shown_is_read_back_the_same(micros: int) -> None:
    """Nothing is lost on the way out and in."""
    assert usd(as_usd(Micros(micros))) == micros


def test_zero_is_nothing() -> None:
    """The start of every sum."""
    assert ZERO == 0
