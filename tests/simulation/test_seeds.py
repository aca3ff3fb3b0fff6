"""Simulations, each different; `make simulate SEEDS=100000` runs more."""

from __future__ import annotations

import os

import pytest

from tests.simulation.__main__ import failure_of
from tests.simulation.running import run_seed

_SEEDS = int(os.environ.get("SEEDS", "1200"))
_CHUNK = 20
_IN_EVERY_TEST = 200


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(first, marks=[pytest.mark.proof] if first >= _IN_EVERY_TEST else [])
        for first in range(0, _SEEDS, _CHUNK)
    ],
)
def test_no_seed_breaks_a_rule(first: int) -> None:
    """
    Limits, no double spend, budgets, whole files, an end for every row: after every commit.
    """
    for seed in range(first, min(first + _CHUNK, _SEEDS)):
        failure = failure_of(seed)
        if failure is not None:
            pytest.fail(f"{failure.what}\nrun it alone: make simulate SEED={seed}", pytrace=False)


@pytest.mark.parametrize("seed", [3, 17, 158, 299])
def test_a_seed_tells_the_same_story_twice(seed: int) -> None:
    """
    Every event, request, commit and crash at the same virtual microsecond.
    """
    assert run_seed(seed) == run_seed(seed)
