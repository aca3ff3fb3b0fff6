"""Greedy under a strict window, measured in virtual time: as fast as the limits allow, no 429."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fluxbatch.emulator.admin_api import stats
from tests.simulation.plan import Invocation, Plan
from tests.simulation.running import in_world
from tests.simulation.world import World

pytestmark = pytest.mark.proof


class Measured(NamedTuple):
    """What the provider saw of one run."""

    span_s: float
    """From the first create to the last."""
    until_done_s: float
    """From the first create to the run's end."""
    worst_window: int
    worst_concurrency: int
    refused: int
    done: int


def measured(
    jobs: int, *, duration_s: float, jitter_s: float = 0.0, sigma: float = 0.0
) -> Measured:
    """One undisturbed run of *jobs* under the card's limits."""
    rows = [
        {"prompt": f"pier {n}", "control_image": "https://example.com/d.png",
         "output_format": "png"} for n in range(jobs)
    ]  # fmt: skip
    plan = Plan(
        seed=1, rows=(rows,), invocations=(), creates=100, window_s=60.0, concurrent=10,
        duration_s=duration_s, sigma=0.0, jitter_s=jitter_s, audits=False,
    )  # fmt: skip

    async def main(world: World) -> Measured:
        outcome = await world.invoke(Invocation(pause_s=0.0, slowness=0.0, badness=0.0))
        assert outcome.code == 0
        seen = stats(world.provider.core)
        return Measured(
            seen["last_create_s"] - seen["first_create_s"],
            world.clock.real_s() - seen["first_create_s"],
            seen["worst_window"],
            seen["worst_concurrency"],
            seen["refused_rate"] + seen["refused_concurrent"],
            seen["billed"],
        )

    return in_world(plan, main)


def test_a_thousand_and_one_creates_take_ten_windows() -> None:
    """
    100 a minute and no 429: the 1,001st create can be at 600 s at the earliest.
    """
    seen = measured(1001, duration_s=3.0)

    assert seen.span_s <= 606.0
    assert (seen.worst_window, seen.refused, seen.done) == (100, 0, 1001)
    assert seen.worst_concurrency <= 10


@pytest.mark.parametrize(("jitter_s", "within_s"), [(0.0, 156.0), (0.2, 160.0)])
def test_three_hundred_short_jobs_come_near_the_ideal(jitter_s: float, within_s: float) -> None:
    """
    Ideal is 150 s: 120 s to the last window, and ten slots for the hundred jobs of that one.
    """
    seen = measured(300, duration_s=3.0, jitter_s=jitter_s)

    assert (seen.refused, seen.done) == (0, 300)
    assert seen.worst_window <= 100
    assert seen.worst_concurrency <= 10
    assert seen.until_done_s <= within_s
