"""The provider's clock, from when our own creates left, were made and were answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.worker.unknown.provider_clock import ClockEstimate, Sighting

_ZERO = datetime(2026, 11, 26, 12, tzinfo=UTC)


def _sighting(number: int, left_s: float, made_s: float, answered_s: float) -> Sighting:
    created = _ZERO + timedelta(milliseconds=int(made_s * 1000))  # to the millisecond, cut off
    return Sighting(f"p{number}", left_s, answered_s, created)


def test_nothing_is_known_before_a_create_of_ours_was_listed() -> None:
    """
    Then whole seconds of a header must do.
    """
    assert ClockEstimate().span(0.0, 1.0) is None


@given(
    st.lists(st.tuples(st.floats(0.001, 0.2), st.floats(0.001, 0.2)), min_size=1, max_size=30),
    st.floats(0.0, 1.0),
)
def test_what_is_made_in_a_span_is_dated_within_it(
    trips: list[tuple[float, float]], share: float
) -> None:
    """
    Wherever between leaving and answer each create was made.
    """
    clock = ClockEstimate()
    clock.saw(
        _sighting(n, n * 1.0, n * 1.0 + there, n * 1.0 + there + back)
        for n, (there, back) in enumerate(trips)
    )

    span = clock.span(40.0, 41.0)
    made = _sighting(99, 40.0, 40.0 + share, 41.0).created

    assert span is not None
    assert span[0] <= made <= span[1]


def test_many_creates_tell_it_more_closely_than_any_one() -> None:
    """
    The bounds are intersected.
    """
    clock = ClockEstimate()
    clock.saw([_sighting(1, 0.0, 0.01, 0.2), _sighting(2, 1.0, 1.19, 1.2)])

    begin, end = clock.span(2.0, 2.0) or (_ZERO, _ZERO)

    assert end - begin < timedelta(seconds=0.03)


def test_a_clock_that_was_set_is_believed_as_it_is_now() -> None:
    """
    What was seen before contradicts it, and counts for what came before alone.
    """
    clock = ClockEstimate()
    clock.saw([_sighting(1, 0.0, 0.1, 0.2)])
    clock.saw([_sighting(2, 10.0, 3610.1, 10.2)])

    begin, end = clock.span(20.0, 20.0) or (_ZERO, _ZERO)

    assert begin <= _ZERO + timedelta(seconds=3620) <= end


def test_what_was_made_before_a_clock_was_set_is_dated_by_it_as_it_was() -> None:
    """
    Else a lost create's execution lies in no create's span, and is bought again.
    """
    clock = ClockEstimate()
    clock.saw([_sighting(1, 0.0, 0.1, 0.2), _sighting(2, 5.0, 5.1, 5.2)])
    clock.saw([_sighting(3, 10.0, 10.1 + 0.95, 10.2)])

    begin, end = clock.span(2.0, 2.5) or (_ZERO, _ZERO)

    assert begin <= _ZERO + timedelta(seconds=2.2) <= end
    assert end - begin < timedelta(seconds=0.9)


def test_what_was_made_while_a_clock_was_set_may_be_dated_either_way() -> None:
    """
    Between the last that was told before, and the first after it.
    """
    clock = ClockEstimate()
    clock.saw([_sighting(1, 0.0, 0.1, 0.2), _sighting(2, 10.0, 10.1 - 60.0, 10.2)])

    begin, end = clock.span(5.0, 6.0) or (_ZERO, _ZERO)

    assert begin <= _ZERO - timedelta(seconds=55) < _ZERO + timedelta(seconds=5) <= end
