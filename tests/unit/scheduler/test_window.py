"""The strict window: never too many as the provider counts, never later than it must be."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.scheduler.window import CreateWindow

_LIMIT, _WINDOW_S = 10, 6.0
delays = st.floats(0.0, 8.0, allow_nan=False)


def _drive(window: CreateWindow, trips: list[tuple[float, float]]) -> tuple[list[float], float]:
    """Send a create as soon as the window allows; each takes (to arrive, to be answered).

    The arrivals at the provider, and when the last create left.
    """
    now, arrivals = 0.0, []
    answers: list[float] = []
    for there, back in trips:
        while (wait_s := window.wait_s(now)) != 0.0:
            if answers and (wait_s is None or answers[0] <= now + wait_s):
                now = heapq.heappop(answers)
                window.answer(now)
            else:
                assert wait_s is not None
                now += wait_s
        window.leave()
        arrivals.append(now + there)
        heapq.heappush(answers, now + there + back)
        while answers and answers[0] <= now:
            window.answer(heapq.heappop(answers))
    return sorted(arrivals), now


@given(st.lists(st.tuples(delays, delays), min_size=1, max_size=200))
def test_the_provider_never_counts_more_than_the_limit(trips: list[tuple[float, float]]) -> None:
    """
    Wherever between leaving and answer each create arrives, no window holds too many.
    """
    arrivals, _ = _drive(CreateWindow(_LIMIT, _WINDOW_S), trips)

    busiest = max(sum(a <= t < a + _WINDOW_S for t in arrivals) for a in arrivals)
    assert busiest <= _LIMIT


@given(st.integers(1, 120))
def test_creates_leave_as_early_as_the_limit_allows(count: int) -> None:
    """
    With instant answers the n-th create leaves exactly when the window before it has emptied.
    """
    _, last = _drive(CreateWindow(_LIMIT, _WINDOW_S), [(0.0, 0.0)] * count)

    assert last == (count - 1) // _LIMIT * _WINDOW_S


def test_a_full_window_says_when_it_empties() -> None:
    """
    The wait is exact, so the lane sleeps once and does not poll.
    """
    window = CreateWindow(limit=1, window_s=60.0)
    window.leave()
    assert window.wait_s(now=5.0) is None  # only the answer can tell

    window.answer(5.0)
    assert window.wait_s(now=20.0) == 45.0


def test_a_create_that_was_not_counted_gives_its_place_back() -> None:
    """
    402 is not counted by the provider, and what never left is not either.
    """
    window = CreateWindow(limit=1, window_s=60.0)
    window.leave()
    window.withdraw()

    assert window.wait_s(now=0.0) == 0.0


def test_a_refused_create_counts_like_any_other() -> None:
    """
    A provider may count what it refuses: hammering would keep its window full for ever.
    """
    window = CreateWindow(limit=2, window_s=60.0)
    for at in (0.0, 10.0):
        window.leave()
        window.refuse(at, None)

    assert window.in_use(now=10.0) == 2
    assert window.wait_s(now=20.0) == 40.0


def test_a_refused_create_counts_until_the_moment_that_the_provider_names() -> None:
    window = CreateWindow(limit=1, window_s=60.0)
    window.leave()
    window.refuse(0.0, 7.0)

    assert window.wait_s(now=0.0) == 7.0
    assert window.wait_s(now=7.0) == 0.0


def test_a_create_that_is_taken_while_it_should_not_be_shows_that_refused_ones_do_not_count() -> (
    None
):
    """
    From then on they count no more, those of before included.
    """
    window = CreateWindow(limit=3, window_s=60.0)
    for _ in range(4):
        window.leave()
    window.answer(0.0)
    window.refuse(0.0, None)
    window.refuse(0.0, None)
    window.accepted(1.0, limit=3)
    window.answer(1.0)
    assert not window.counts_refused
    assert window.in_use(now=1.0) == 2

    window.leave()
    window.refuse(2.0, None)
    assert window.in_use(now=2.0) == 2


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=150))
def test_no_window_has_more_attempts_than_the_limit_whatever_is_refused(
    creates: list[tuple[float, bool]],
) -> None:
    window, now, attempts = CreateWindow(_LIMIT, _WINDOW_S), 0.0, list[float]()
    for pause_s, is_refused in creates:
        now += pause_s
        while (wait_s := window.wait_s(now)) != 0.0:
            assert wait_s is not None
            now += wait_s
        window.leave()
        attempts.append(now)
        if is_refused:
            window.refuse(now, None)
        else:
            window.accepted(now, _LIMIT)
            window.answer(now)

    # Sums of floats are not exact to the last bit.
    busiest = max(sum(a <= t < a + _WINDOW_S - 1e-9 for t in attempts) for a in attempts)
    assert busiest <= _LIMIT


def test_a_create_given_up_counts_from_a_moment_still_to_come() -> None:
    """
    It may arrive `reconcile.lag` later, so its place is free one window after that.
    """
    window = CreateWindow(limit=2, window_s=60.0)
    for _ in range(2):
        window.leave()
    window.answer(30.0 + 5.0)  # given up at 5 s, 30 s of lag
    window.answer(6.0)

    assert window.wait_s(now=6.0) == 60.0
    assert window.wait_s(now=66.0) == 0.0


def test_more_remembered_creates_than_the_limit_wait_for_as_many_to_leave() -> None:
    """
    After a limit was lowered between two runs, one free place is not enough.
    """
    window = CreateWindow(limit=1, window_s=60.0)
    for at in (0.0, 10.0, 20.0):
        window.remember(at)

    assert window.wait_s(now=30.0) == 50.0
    assert window.in_use(now=65.0) == 2
