"""Simulations of a shared run, each different; `make simulate SHARED=1 SEEDS=10000` runs more."""

from __future__ import annotations

import os

import pytest

from tests.simulation.__main__ import failure_of
from tests.simulation.shared.running import run_seed

_SEEDS = int(os.environ.get("SEEDS", "40"))
_CHUNK = 8
_IN_EVERY_TEST = 8


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
    Several processes at once: killed, standing still, cut off, while the server's clock is set.
    """
    for seed in range(first, min(first + _CHUNK, _SEEDS)):
        failure = failure_of(seed, is_shared=True)
        if failure is not None:
            again = f"make simulate SHARED=1 SEED={seed}"
            pytest.fail(f"{failure.what}\nrun it alone: {again}", pytrace=False)


def test_a_seed_tells_the_same_story_twice() -> None:
    """
    Every event, request, commit and death at the same virtual microsecond, of every process.
    """
    assert run_seed(1) == run_seed(1)
