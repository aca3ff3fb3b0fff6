"""Polls a job and the share of the slot time of a dataset that knows no duration yet.

In virtual time and without a network: ten slots, each taking the next job as soon as a poll has
found the end of the last. Over the first 120 jobs and over what begins after the first minute,
for durations as the model's card says and for others; the means of many runs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.side import tell
from fluxbatch.models.flux_depth_dev import FluxDepthDevCard
from fluxbatch.worker.poll_schedule import PollSchedule

SLOTS = 10
FIRST_JOBS = 120
_JOBS = 240
_MINUTE_S = 60.0
_RUNS = 200

Draw = Callable[[Random], float]
"""How long one execution takes, in seconds."""


@dataclass(slots=True)
class Share:
    """What some of a run's jobs needed."""

    jobs: int = 0
    polls: int = 0
    spent_s: float = 0.0
    held_s: float = 0.0

    def add(self, polls: int, spent_s: float, held_s: float) -> None:
        self.jobs += 1
        self.polls += polls
        self.spent_s += spent_s
        self.held_s += held_s

    @property
    def polls_per_job(self) -> float:
        return self.polls / max(self.jobs, 1)

    @property
    def slot_use(self) -> float:
        """Seconds of executions over the seconds their slots were held."""
        return self.spent_s / max(self.held_s, 1e-9)

    def point(self) -> dict[str, object]:
        return {"polls_per_job": round(self.polls_per_job, 2), "slot_use": round(self.slot_use, 4)}


def lognormal(median_s: float, sigma: float) -> Draw:
    return lambda random: random.lognormvariate(math.log(median_s), sigma)


def either(share: float, one: Draw, other: Draw) -> Draw:
    """*one* in a *share* of the cases, else *other*."""
    return lambda random: (one if random.random() < share else other)(random)


def simulate(
    timing: PollSchedule, draw: Draw, random: Random, first: Share, later: Share, jobs: int = _JOBS
) -> None:
    """One run; what its first jobs needed and those that began after a minute is added."""
    begun = 0
    waiting: list[tuple[float, int, float, float, float, int]] = []

    def begin(now_s: float) -> None:
        nonlocal begun
        begun += 1
        wait_s = timing.wait_s("kind", 0.0, random, eager=True)
        heapq.heappush(waiting, (now_s + wait_s, begun, now_s, 0.0, draw(random), 1))

    for _ in range(SLOTS):
        begin(0.0)
    while waiting:
        now_s, number, began_s, asked_s, duration_s, polls = heapq.heappop(waiting)
        elapsed_s = now_s - began_s
        if elapsed_s < duration_s:
            wait_s = timing.wait_s("kind", elapsed_s, random, eager=True)
            again = (now_s + wait_s, number, began_s, elapsed_s, duration_s, polls + 1)
            heapq.heappush(waiting, again)
            continue
        timing.saw("kind", asked_s, elapsed_s)
        if number <= FIRST_JOBS:
            first.add(polls, duration_s, elapsed_s)
        if began_s >= _MINUTE_S:
            later.add(polls, duration_s, elapsed_s)
        if begun < jobs:
            begin(now_s)


def measure(draw: Draw, execution_s: float | None, runs: int = _RUNS) -> tuple[Share, Share]:
    """The first jobs and those after the first minute, over many runs."""
    first, later = Share(), Share()
    for seed in range(runs):
        simulate(PollSchedule(execution_s), draw, Random(seed), first, later)
    return first, later


CASES: dict[str, Draw] = {
    "10 s": lognormal(10.0, 0.15),
    "10 s, sigma 0.4": lognormal(10.0, 0.4),
    "7 s": lognormal(7.0, 0.15),
    "14 s": lognormal(14.0, 0.15),
    "3 s": lognormal(3.0, 0.15),
    "40 s": lognormal(40.0, 0.15),
    "0.3 s": lognormal(0.3, 0.15),
    "half 4 s, half 12 s": either(0.5, lognormal(4.0, 0.1), lognormal(12.0, 0.1)),
    "most 10 s, some 40 s": either(0.8, lognormal(10.0, 0.15), lognormal(40.0, 0.15)),
}


def main() -> None:
    told = FluxDepthDevCard().execution_s
    rows: dict[str, dict[str, object]] = {}
    for name, draw in CASES.items():
        for known, execution_s in ((name, told), (f"{name}, of a model without a figure", None)):
            first, later = measure(draw, execution_s)
            rows[known] = first.point()
            rows[f"{known}; after a minute"] = later.point()
    tell("fresh_polls", rows, keep=False)


if __name__ == "__main__":
    main()
