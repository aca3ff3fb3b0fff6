"""The share of a limit that is used after a 429."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.scheduler.adaptive_limit import AdaptiveLimit


def test_without_a_refusal_the_whole_limit_is_used() -> None:
    """
    No ramp at the start.
    """
    assert AdaptiveLimit(10, 60.0).allowed(0.0) == 10
    assert AdaptiveLimit(10, 60.0).wait_s(0.0) is None


def test_a_refusal_cuts_by_a_share_and_time_gives_it_back() -> None:
    """
    Seven of ten at once, eight some seconds later, all ten in the end.
    """
    allowance = AdaptiveLimit(10, 60.0)
    assert allowance.decrease(100.0, settle_s=2.0)
    assert allowance.allowed(100.0) == 7

    wait_s = allowance.wait_s(100.0)
    assert wait_s is not None
    assert allowance.allowed(100.0 + wait_s) == 8
    assert allowance.allowed(200.0) == 10
    assert allowance.wait_s(200.0) is None


def test_refusals_that_were_under_way_together_cut_once() -> None:
    """
    Ten creates that met the same wall say it ten times.
    """
    allowance = AdaptiveLimit(10, 60.0)
    for number in range(10):
        allowance.decrease(100.0 + number / 100, settle_s=2.0)

    assert allowance.allowed(100.1) == 7


@given(st.lists(st.floats(0.0, 30.0), max_size=60), st.integers(1, 100))
def test_at_least_one_is_always_allowed_and_never_more_than_the_limit(
    pauses: list[float], limit: int
) -> None:
    """
    A lane that others share still finishes.
    """
    allowance, now = AdaptiveLimit(limit, 60.0), 0.0
    for pause in pauses:
        now += pause
        allowance.decrease(now, settle_s=2.0)
        assert 1 <= allowance.allowed(now) <= limit
