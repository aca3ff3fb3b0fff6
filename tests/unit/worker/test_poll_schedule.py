"""The poll schedule: when to ask after a webhook that should have come."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

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
