"""The plan of one simulation of a shared run, derived from its seed.

Owns the odds of what only several processes meet. What any run meets is drawn as in
`tests.simulation.plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.simulation.life import Doom
from tests.simulation.plan import (
    Invocation,
    Plan,
    replace_invocations,
    rows_of,
    some_caps,
    some_delays,
    some_faults,
    some_switches,
    with_contract,
)
from tests.simulation.shared.process import Still


@dataclass(frozen=True, slots=True)
class OneLife:
    """A worker's process."""

    pause_s: float = 0.0
    """Before it starts."""
    doom: Doom = field(default_factory=Doom)
    stills: Sequence[Still] = ()
    slowness: float = 0.0
    badness: float = 0.0
    cut_off: tuple[float, float] | None = None
    """(seconds after its start, seconds for which it cannot reach the database)."""
    loses_answer_at_s: float | None = None
    """The first commit after that is answered by nobody."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A machine: one process after the other, until one is not killed."""

    lives: Sequence[OneLife]
    dataset: int = 0
    skew_s: float = 0.0
    """Of its wall clock."""
    lacks: frozenset[int] = frozenset()
    """Keys, by their places in the plan, that it was not given."""
    stale: frozenset[int] = frozenset()
    """Keys of which it has an older text: the provider refuses that."""


@dataclass(frozen=True, slots=True)
class Round:
    """Machines that are told the same, until nobody works any more."""

    told: Invocation
    """What all of them are told, and what the provider does meanwhile."""
    seats: Sequence[Seat]
    steps: Sequence[tuple[float, float]] = ()
    """(seconds after its start, seconds by which the server's clock is set)."""
    promotions: Sequence[float] = ()
    """Seconds after its start at which another server takes the place of the one there is."""


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """One simulation."""

    base: Plan
    """The provider, the rows, the settings; its invocations are what the rounds are told."""
    rounds: Sequence[Round]


def shared_plan(base: Plan, *rounds: Round) -> SharedPlan:
    return SharedPlan(replace_invocations(base, [one.told for one in rounds]), rounds)


def shared_plan_of(seed: int) -> SharedPlan:
    """The simulation that *seed* stands for."""
    random = Random(f"fluxbatch shared {seed}")
    base = _base(random, seed)
    bad = random.random()
    faults = some_faults(random) if bad > 0.5 else {}
    jobs = sum(row.get("repeat", 1) for rows in base.rows for row in rows)
    caps = some_caps(random, jobs)
    base = with_contract(replace_invocations(base, [Invocation(faults=faults, caps=caps)]))
    keys = Random(f"fluxbatch shared keys {seed}")
    rounds = [_with_keys(keys, base, _round(random, base, base.invocations[0], bad))]
    if random.random() < 0.25:
        more = tuple(None if cap is None else cap + 75_000 for cap in caps)
        then = replace(base.invocations[0], caps=(more[0], more[1], more[2]), limit=None)
        rounds.append(_with_keys(keys, base, _round(random, base, then, bad)))
    return shared_plan(base, *rounds)


def _base(random: Random, seed: int) -> Plan:
    datasets = 2 if random.random() < 0.15 else 1
    lag_s, timeout_s = random.choice((5.0, 10.0)), random.choice((5.0, 10.0))
    return Plan(
        seed=seed,
        rows=[_rows(random, which) for which in range(datasets)],
        invocations=(),
        accounts=random.choice(((1,), (2,), (1, 1), (1, 1, 1), (2, 1))),
        creates=random.choice((3, 5, 8)),
        window_s=random.choice((5.0, 10.0, 20.0)),
        concurrent=random.choice((1, 2, 3, 5)),
        enforces=random.random() < 0.6,
        duration_s=random.choice((0.5, 3.0, 6.0)),
        sigma=random.choice((0.0, 0.3)),
        latency_s=random.choice((0.0, 0.0, 0.3)),
        jitter_s=random.choice((0.0, 0.2, 1.0)),
        slow_chance=random.choice((0.0, 0.0, 0.05)),
        slow_s=min(timeout_s, lag_s) * 0.6,
        deadline_s=random.choice((60.0, 100.0)),
        timeout_s=timeout_s,
        lag_s=lag_s,
        switches={
            **some_switches(random),
            **some_delays(random, lag_s, timeout_s),
            "slow_seconds": random.uniform(0.5, timeout_s * 1.2),
        },
        derived_seeds=random.random() < 0.9,
    )


def _rows(random: Random, which: int) -> list[dict[str, object]]:
    return [
        {**row, "id": f"{row['id']}-{part}", "prompt": f"{row['prompt']}-{part}"}
        for part in range(random.choice((1, 1, 2)))
        for row in rows_of(random, which)
    ]


def _round(random: Random, base: Plan, told: Invocation, bad: float) -> Round:
    seats = random.choice((2, 2, 3, 3, 4))
    span_s = 15 + 3 * base.duration_s
    if random.random() < 0.08:
        told = replace(told, limit=random.randint(1, 5))
    if random.random() < 0.06:
        told = replace(told, outage=(random.uniform(0, span_s), random.uniform(1, 30)))
    if random.random() < 0.06:
        revoked = (random.uniform(0, span_s), random.uniform(1, 60), random.randint(1, 2))
        told = replace(told, revoked=revoked)
    stepping, calm = random.random() < 0.3, bad < 0.1
    return Round(
        told,
        [_seat(random, base, span_s, calm=calm) for _ in range(seats)],
        steps=[(random.uniform(0, 3 * span_s), _step_s(random)) for _ in range(2)]
        if stepping else (),
        promotions=[random.uniform(0, 2 * span_s)] if random.random() < 0.08 else (),
    )  # fmt: skip


def _with_keys(random: Random, base: Plan, one: Round) -> Round:
    """Now and then machines differ in their keys; each has one that works."""
    count = sum(base.accounts)
    if count < 2 or random.random() < 0.75:
        return one
    seats = []
    for seat in one.seats:
        bad = random.sample(range(count), random.randint(0, count - 1))
        cut = random.randint(0, len(bad))
        seats.append(replace(seat, lacks=frozenset(bad[:cut]), stale=frozenset(bad[cut:])))
    return replace(one, seats=seats)


def _seat(random: Random, base: Plan, span_s: float, *, calm: bool) -> Seat:
    deaths = 0 if calm else random.choice((0, 0, 1, 1, 2))
    lives = [_life(random, span_s, is_doomed=number < deaths, calm=calm)
             for number in range(deaths + (random.random() < 0.8))]  # fmt: skip
    return Seat(
        lives or [_life(random, span_s, is_doomed=False, calm=calm)],
        dataset=random.randrange(len(base.rows)),
        skew_s=random.choice((0.0, 0.0, -3.0, 40.0, -7200.0)),
    )


def _life(random: Random, span_s: float, *, is_doomed: bool, calm: bool) -> OneLife:
    troubled = not calm
    return OneLife(
        pause_s=random.choice((0.0, 0.0, 0.1, 1.0, 8.0, 25.0)),
        doom=_doom(random) if is_doomed else Doom(),
        stills=[_still(random, span_s) for _ in range(random.choice((0, 0, 1, 1, 2)))]
        if troubled else (),
        slowness=random.choice((0.0, 0.05, 0.3)) if troubled else 0.0,
        badness=random.choice((0.0, 0.0, 0.02, 0.2)) if troubled else 0.0,
        cut_off=(random.uniform(0, span_s), random.choice((0.1, 3.0, 12.0, 30.0)))
        if troubled and random.random() < 0.12 else None,
        loses_answer_at_s=random.uniform(0, span_s)
        if troubled and random.random() < 0.12 else None,
    )  # fmt: skip


_MOMENTS = (
    "call", "call: before", "call: after Intend", "call: after Intend", "wire: connect",
    "wire: left POST", "wire: answered POST", "wire: answered POST", "wire: answered GET",
    "wire: fetched", "call: after Transition accepted",
)  # fmt: skip
"""Between an intent's commit and its create, between an answer and its commit, and so on."""


def _still(random: Random, span_s: float) -> Still:
    for_s = random.choice((2.0, 6.0, 11.0, 17.0, 25.0, 60.0))
    if random.random() < 0.3:
        return Still(for_s, at_s=random.uniform(0, span_s))
    return Still(for_s, step=random.choice(_MOMENTS), number=int(random.expovariate(1 / 5)) + 1)


def _doom(random: Random) -> Doom:
    kind = random.random()
    if kind < 0.3:
        return Doom(at_s=random.expovariate(1 / 10))
    if kind < 0.5:
        return Doom(turn=int(random.expovariate(1 / 400)) + 1)
    if kind < 0.7:
        return Doom(step="", number=int(random.expovariate(1 / 150)) + 1)
    step = random.choice(("call: before", "call: after", *_MOMENTS))
    return Doom(step=step, number=int(random.expovariate(1 / 6)) + 1)


def _step_s(random: Random) -> float:
    size = random.choice((0.08, 0.4, 3.0, 8.0, 20.0, 3600.0))
    return size if random.random() < 0.5 else -size
