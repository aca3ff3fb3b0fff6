"""The estimate of the time left, and its honesty."""

from __future__ import annotations

from dataclasses import replace

from fluxbatch.cli.progress.eta import Eta
from fluxbatch.domain.job import JobState
from tests.unit.cli.statuses import make_cap, make_status, make_totals


def test_before_a_few_jobs_have_ended_nobody_can_say() -> None:
    """
    An estimate from two jobs would be a guess.
    """
    eta = Eta()
    for second in range(3):
        status = make_status({JobState.DONE: second, JobState.PENDING: 50}, elapsed_s=second)
        eta.update(status)

    assert eta.remaining(status) == "too early to say how long"


def test_a_steady_pace_is_drawn_on() -> None:
    """
    One job a second, 120 left: two minutes.
    """
    eta = Eta()
    for second in range(60):
        status = make_status(
            {JobState.DONE: second, JobState.PENDING: 179 - second}, elapsed_s=second
        )
        eta.update(status)

    assert eta.remaining(status) == "about 2 min left (steady pace)"


def test_a_changing_pace_is_told_as_a_range() -> None:
    """
    Ten a second at first, then one; the limit allows no more than 100 a minute.
    """
    eta = Eta()
    done = 0
    for second in range(40):
        done += 10 if second < 20 else 1
        status = make_status({JobState.DONE: done, JobState.PENDING: 600}, elapsed_s=second)
        eta.update(status)

    assert eta.remaining(status) == "about 5½ to 10 min left (the pace is changing)"


def test_the_limit_on_creates_is_foreseen() -> None:
    """
    Three a second while the window fills; but 900 creates take nine windows.
    """
    eta = Eta()
    for second in range(14):
        status = make_status({JobState.DONE: 3 * second, JobState.PENDING: 958}, elapsed_s=second)
        eta.update(status)

    assert eta.remaining(status) == "about 9 to 9½ min left (the limit on creates sets the pace)"


def test_few_ended_jobs_make_a_wide_range() -> None:
    """
    Six in twelve seconds: nobody can be sure of the pace yet, and it is said.
    """
    eta = Eta()
    for second in range(13):
        status = make_status({JobState.DONE: second // 2, JobState.PENDING: 94}, elapsed_s=second)
        eta.update(status)

    assert eta.remaining(status) == "about 2½ to 4 min left (a first guess)"


def test_a_cap_that_will_not_reach_the_end_is_said_beforehand() -> None:
    """
    Ten jobs are waiting, the cap pays for four more.
    """
    run = make_totals(creates=10, spent=250_000)
    states = {JobState.DONE: 10, JobState.PENDING: 10}
    status = make_status(states, run=run, budgets=(make_cap(350_000, 250_000),))
    used_up = make_status(states, run=run, budgets=(make_cap(250_000, 250_000),))
    eta = Eta()
    eta.update(status)

    assert eta.remaining(status) == "too early to say how long; the budget leaves 6 jobs out"
    assert eta.remaining(used_up) == "the budget is used up; 10 jobs will be left"


def test_with_only_unknown_creates_left_it_says_what_is_waited_for() -> None:
    """
    There is no eta in looking for a lost answer.
    """
    status = make_status({JobState.DONE: 9, JobState.ACTIVE: 1}, unknown=1)

    assert Eta().remaining(status) == "looking for creates without an answer"


def test_a_paused_run_has_no_time_left() -> None:
    """
    However steady its pace was, and with nothing under way.
    """
    eta = Eta()
    for second in range(60):
        status = make_status({JobState.DONE: second, JobState.PENDING: 99}, elapsed_s=second)
        eta.update(status)
    paused = replace(status, is_paused=True, waits="paused by fluxbatch ctl: lunch")

    assert "left" in eta.remaining(status)
    assert eta.remaining(paused) == "paused by fluxbatch ctl: lunch"
