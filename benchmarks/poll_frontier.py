"""Polls a job against the share of the slot time used: the engine's placing and the optimum.

Durations are lognormal(10 s, 0.15), the time is virtual and the network takes none. The optimum
is by dynamic programming: after a poll that found nothing, the next one is placed where the
seconds still to come and a price for each poll are least; each price is a point of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from random import Random
from statistics import NormalDist

from benchmarks.side import tell
from fluxbatch.worker.poll_schedule import PollPlan, PollSchedule

_MEDIAN_S, _SIGMA = 10.0, 0.15
_JOBS = 20_000
_STEP_S = 0.02
_LAST_S = 24.0
"""Later than that ends one job in a thousand million."""
_PRICES_S = (1.2, 0.8, 0.55, 0.4, 0.3, 0.22, 0.16, 0.12, 0.08, 0.05, 0.03)
_BUDGETS = (2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 14.0)

NextPoll = Callable[[float], float]
"""From the seconds of one poll that found nothing (0: none yet) to those of the next."""


def main() -> None:
    rows: dict[str, dict[str, object]] = {}
    for price_s in _PRICES_S:
        rows[f"optimum {price_s:g}"] = _point(*_expected(_optimal(price_s)))
    for budget in _BUDGETS:
        plan = PollPlan(_MEDIAN_S, _SIGMA, budget)
        rows[f"plan {budget:g}"] = _point(*_simulated(plan.next_s))
    for name, eager in (("engine", True), ("engine, lazy", False)):
        rows[name] = _point(*_simulated(_learned(Random(2), eager)))
    rows["fixed 2 s"] = _point(*_simulated(lambda elapsed_s: elapsed_s + 2.0))
    tell("poll_frontier", rows)


def _point(polls: float, share: float) -> dict[str, object]:
    return {"polls_per_job": round(polls, 2), "slot_use": round(share, 4)}


def _simulated(next_s: NextPoll) -> tuple[float, float]:
    """Mean polls, and the seconds of executions over the seconds their slots were held."""
    random = Random(1)
    polls, held_s, spent_s = 0, 0.0, 0.0
    for _ in range(_JOBS):
        duration_s = random.lognormvariate(math.log(_MEDIAN_S), _SIGMA)
        polled_s = 0.0
        while polled_s < duration_s:
            polled_s = next_s(polled_s)
            polls += 1
        held_s += polled_s
        spent_s += duration_s
    return polls / _JOBS, spent_s / held_s


def _learned(random: Random, eager: bool) -> NextPoll:
    """The engine's own, once it has seen 200 executions."""
    timing = PollSchedule()
    timing.remember(
        "kind", (random.lognormvariate(math.log(_MEDIAN_S), _SIGMA) for _ in range(200))
    )
    return lambda elapsed_s: elapsed_s + timing.wait_s("kind", elapsed_s, random, eager=eager)


def _unended() -> list[float]:
    """The chance that an execution is not over at each step of the grid."""
    normal = NormalDist()
    steps = int(_LAST_S / _STEP_S)
    times = (step * _STEP_S for step in range(1, steps + 1))
    return [1.0, *(1.0 - normal.cdf(math.log(t / _MEDIAN_S) / _SIGMA) for t in times)]


def _optimal(price_s: float) -> list[int]:
    """From each step where a poll found nothing, the step of the next."""
    alive = _unended()
    last = len(alive) - 1
    to_come = [0.0] * (last + 1)
    following = [last] * (last + 1)
    for now in range(last - 1, -1, -1):
        if alive[now] <= 1e-12:
            following[now] = now + 1
            continue
        best = math.inf
        for then in range(now + 1, last + 1):
            waited_s = (then - now) * _STEP_S + price_s
            if waited_s >= best:
                break
            cost = waited_s + alive[then] / alive[now] * to_come[then]
            if cost < best:
                best, following[now] = cost, then
        to_come[now] = best
    return following


def _expected(following: list[int]) -> tuple[float, float]:
    """Of a policy on the grid: mean polls, and the share of the slot time."""
    alive = _unended()
    polls, held_s = 0.0, 0.0
    for now, then in _steps(following):
        polls += alive[now]
        held_s += alive[now] * (then - now) * _STEP_S
    mean_s = _MEDIAN_S * math.exp(_SIGMA**2 / 2)
    return polls, mean_s / held_s


def _steps(following: Iterable[int]) -> Iterator[tuple[int, int]]:
    places, now = list(following), 0
    while now < len(places) - 1:
        yield now, places[now]
        now = places[now]


if __name__ == "__main__":
    main()
