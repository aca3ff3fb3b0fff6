"""The poll schedule: when to ask after a webhook that should have come."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest

from benchmarks.fresh_polls import CASES, measure
from fluxbatch.models.flux_depth_dev import FluxDepthDevCard
from fluxbatch.worker.poll_schedule import PollSchedule

KIND = (28, "1", 1)


def _learned(median_s: float = 10.0, sigma: float = 0.15) -> PollSchedule:
    timing, random = PollSchedule(), Random(4)
    timing.remember(KIND, [median_s * math.exp(random.gauss(0, sigma)) for _ in range(100)])
    return timing


def test_a_prediction_is_asked_about_only_once_its_webhook_should_have_come() -> None:
    """
    99.9 % of ten-second predictions have ended by then, and no slot is held much longer.
    """
    first_s = _learned().safety_s(KIND, 0.0, Random(1))

    assert 10 * math.exp(3.1 * 0.15) < first_s < 30


def test_looks_get_rarer_and_never_cease() -> None:
    """
    A prediction that takes a quarter of an hour is asked about some forty times, not hundreds.
    """
    timing, random, at_s, looks = _learned(), Random(1), 0.0, 0
    while at_s < 900:
        wait_s = timing.safety_s(KIND, at_s, random)
        assert 0 < wait_s <= 33
        at_s += wait_s
        looks += 1

    assert 10 < looks < 50


def test_before_anything_is_known_a_look_comes_after_seconds_and_then_ever_later() -> None:
    """
    A kind that was never seen is judged by all kinds; with none seen, by nothing but its age.
    """
    unlearned, random = PollSchedule(), Random(1)
    ages = [0.0]
    for _ in range(5):
        ages.append(ages[-1] + unlearned.safety_s(KIND, ages[-1], random))

    assert 5 <= ages[1] <= 5.5
    assert all(later >= 1.9 * age for age, later in pairwise(ages[1:5]))
    assert _learned().safety_s(("never seen",), 0.0, random) > 14


TOLD_S = FluxDepthDevCard().execution_s


def test_what_the_card_says_saves_polls_from_the_first_job() -> None:
    """
    Over 120 jobs of a fresh dataset at most 6.3 polls a job, and 0.965 of the slots' time used.
    """
    first, later = measure(CASES["10 s"], TOLD_S, runs=30)

    assert first.polls_per_job <= 6.3
    assert first.slot_use >= 0.965
    assert later.polls_per_job <= 6.1
    assert later.slot_use >= 0.972


@pytest.mark.parametrize(
    ("case", "most_polls", "least_use"),
    [
        ("3 s", 9.0, 0.95),
        ("40 s", 9.5, 0.96),
        ("0.3 s", 8.0, 0.92),
        ("half 4 s, half 12 s", 12.0, 0.87),
        ("most 10 s, some 40 s", 20.0, 0.95),
        ("10 s, sigma 0.4", 8.0, 0.93),
    ],
)
def test_a_card_that_is_wrong_costs_little(case: str, most_polls: float, least_use: float) -> None:
    """
    What has ended says more than what was told; until something has, some polls come early.
    """
    first, _ = measure(CASES[case], TOLD_S, runs=20)

    assert first.polls_per_job <= most_polls
    assert first.slot_use >= least_use


@pytest.mark.parametrize("case", ["3 s", "10 s", "40 s"])
def test_a_model_without_a_figure_is_learned_as_fast_as_it_ends(case: str) -> None:
    first, later = measure(CASES[case], None, runs=20)

    assert first.polls_per_job <= 10
    assert first.slot_use >= 0.965
    assert later.polls_per_job <= 6.4


def test_a_card_that_is_wrong_is_not_believed_once_something_has_ended() -> None:
    """
    Twice as long as told, or half: the next poll comes as if nothing had been told.
    """
    random = Random(1)
    for seen_s in (3.0, 40.0):
        timing = PollSchedule(TOLD_S)
        timing.saw(KIND, seen_s, seen_s)
        assert timing.wait_s(KIND, 0.0, random, eager=True) < 0.2

    believed = PollSchedule(TOLD_S)
    believed.saw(KIND, 9.0, 9.0)
    assert believed.wait_s(KIND, 0.0, random, eager=True) > 4


def test_what_outlives_its_plan_is_asked_about_ever_more_rarely() -> None:
    timing, random = _learned(), Random(1)
    waits = [timing.wait_s(KIND, at_s, random, eager=True) for at_s in (30.0, 60.0, 600.0)]

    assert waits == sorted(waits)
    assert 30 < waits[-1] < 40


def test_short_predictions_that_nobody_waits_for_are_asked_about_twenty_times_a_second() -> None:
    """
    At most, and up to the jitter; where a slot is waited for, as often as their plan says.
    """
    timing, random = PollSchedule(), Random(1)
    for _ in range(50):
        timing.saw(KIND, 0.04, 0.04)

    waits = [timing.wait_s(KIND, at_s, random, eager=False) for at_s in (0.0, 0.02, 0.04)]
    assert all(wait_s > 0.045 for wait_s in waits)
    assert timing.wait_s(KIND, 0.035, random, eager=True) < 0.02
