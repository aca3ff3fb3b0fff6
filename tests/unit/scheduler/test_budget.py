"""Caps: what is reserved and estimated counts like what is spent."""

from __future__ import annotations

from fluxbatch.domain.money import Balance, Micros, Scope
from fluxbatch.scheduler.budget import admit


def _line(
    scope: Scope, cap: int | None, *, reserved: int = 0, settled: int = 0, estimated: int = 0
) -> Balance:
    return Balance(
        scope,
        "",
        None if cap is None else Micros(cap),
        Micros(reserved),
        Micros(settled),
        Micros(estimated),
    )


def test_no_cap_refuses_nothing() -> None:
    """
    Without a cap any amount may be spent.
    """
    assert admit([_line("run", None, settled=10**12)], Micros(25_000)) is None


def test_a_cap_is_filled_to_the_last_micro_dollar() -> None:
    """
    Four creates fit under four prices; a fifth does not.
    """
    assert admit([_line("run", 100_000, settled=75_000)], Micros(25_000)) is None
    assert admit([_line("run", 100_000, settled=75_001)], Micros(25_000)) is not None


def test_reserved_and_estimated_money_counts() -> None:
    """
    Unknown creates stay reserved and failed ones estimated: both may be billed.
    """
    line = _line("run", 100_000, reserved=50_000, settled=25_000, estimated=25_000)

    assert admit([line], Micros(25_000)) == line


def test_the_narrowest_of_several_caps_refuses() -> None:
    """
    The run's cap has room, the day's has not.
    """
    day = _line("day", 50_000, settled=50_000)

    assert admit([_line("run", 10**9), day, _line("dataset", None)], Micros(25_000)) == day
