"""The plan of one simulation, derived from its seed.

Owns the odds. A plan is plain data and says nothing of how it is carried out, so it can be
printed, changed by hand, and built by the directed tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from tests.simulation.commands import Command, drawn_commands, drawn_keys
from tests.simulation.life import Doom

PRICE = 25_000

TRANSIENT = (
    "create_reset_before", "create_reset_after", "create_500_before", "create_500_after",
    "create_504_html_after", "create_408_after", "create_timeout_after", "create_late",
    "create_garbled", "create_no_id", "create_slow", "create_429_rate", "create_429_concurrent",
    "get_500", "get_503_html", "get_reset", "get_timeout", "get_slow", "get_429", "get_404",
    "get_garbled", "get_unknown_word", "cancel_ignored", "cancel_500", "list_late", "list_500",
    "list_403", "list_reset", "list_moving", "list_skipping", "list_strangers", "presign_500",
    "put_403", "put_500", "download_truncated", "download_truncated_short", "download_html_200",
    "download_zero", "download_wrong_type", "download_drip", "download_timeout", "download_reset",
    "download_redirect", "download_redirect_loop", "download_redirect_private",
    "download_403_expired", "download_404", "download_500",
)  # fmt: skip
"""Faults that every run must survive without losing a job for good."""

ENDS = (
    "prediction_error", "prediction_filtered", "prediction_timeout", "prediction_no_output",
    "prediction_short_output", "prediction_stuck", "prediction_lost", "create_400",
)  # fmt: skip
"""Faults that may end a job."""

WEBHOOKS = ("webhook_lost", "webhook_repeat", "webhook_late", "webhook_early")
KEYS = ("create_401", "create_403", "create_402")
MONEY = ("no_cost", "cost_higher")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One `run` of the command, or one process of it."""

    dataset: int = 0
    faults: Mapping[str, float] = field(default_factory=dict)
    doom: Doom = field(default_factory=Doom)
    caps: tuple[int | None, int | None, int | None] = (None, None, None)
    """Micro-dollars per run, day and dataset."""
    limit: int | None = None
    interrupt_at_s: float | None = None
    """A first Ctrl-C."""
    cancel_at_s: float | None = None
    """The second: leave at once."""
    jumps: Sequence[tuple[float, float]] = ()
    """(seconds after its start, seconds by which UTC jumps)."""
    sleeps: Sequence[tuple[float, float]] = ()
    """(seconds after its start, seconds the machine sleeps)."""
    outage: tuple[float, float] | None = None
    """(seconds after its start, seconds nobody can connect)."""
    revoked: tuple[float, float, int] | None = None
    """(seconds after its start, seconds, how many keys)."""
    balance: int | None = None
    slowness: float = 0.05
    badness: float = 0.02
    full_disk: float = 0.0
    pause_s: float = 1.0
    """Before it starts."""
    retry_first: bool = False
    deletes_lane_files: bool = False
    commands: Sequence[Command] = ()
    withheld: frozenset[str] = frozenset()  # keys that it is not given at its start


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulation."""

    seed: int
    rows: Sequence[Sequence[Mapping[str, Any]]]
    """Of each dataset's manifest."""
    invocations: Sequence[Invocation]
    accounts: Sequence[int] = (1,)
    """Keys of each account."""
    creates: int = 10
    window_s: float = 60.0
    concurrent: int = 4
    enforces: bool = True
    """Whether the provider refuses what is above the limits, or only counts it."""
    counts_attempts: bool = False
    """Whether it counts the creates that it refuses."""
    tells_when: bool = True
    """Whether a 429 says when to come back."""
    duration_s: float = 5.0
    sigma: float = 0.3
    latency_s: float = 0.0
    jitter_s: float = 0.2
    slow_chance: float = 0.0
    slow_s: float = 0.0
    deadline_s: float = 120.0
    timeout_s: float = 30.0
    lag_s: float = 30.0
    skew_s: float = 0.0
    switches: Mapping[str, float] = field(default_factory=dict)
    """Faults and knobs that stay on to the end."""
    derived_seeds: bool = True
    webhooks: bool = False
    spoilt_webhooks: float = 0.0
    """How often one comes garbled before it comes whole."""
    dialect: Literal["card", "docs"] = "docs"
    """The card's answers do not give the input back."""
    serial_creates: Literal["auto", "always", "never"] = "auto"
    sole_user: bool = False
    """Whether the engine is told that nobody else creates anything; then nobody does."""
    has_listing: bool = True
    audits: bool = True
    """Whether the ledger is checked after every commit; thousands of jobs are too many for that."""

    @property
    def faults(self) -> frozenset[str]:
        """Every fault that may strike at some time."""
        names = {name for one in self.invocations for name in one.faults}
        return frozenset(names | set(self.switches))


def plan_of(seed: int) -> Plan:
    """The simulation that *seed* stands for."""
    random = Random(f"fluxbatch simulation {seed}")
    limits_dice = Random(f"limits {seed}")
    datasets = 2 if random.random() < 0.12 else 1
    rows = [rows_of(random, which) for which in range(datasets)]
    creates = random.choice((2, 3, 5, 8, 20))
    bad = random.random()
    switches = some_switches(random)
    lag_s = random.choice((10.0, 30.0))
    timeout_s = random.choice((10.0, 30.0))
    plan = Plan(
        seed=seed,
        rows=rows,
        invocations=(),
        accounts=random.choice(((1,), (1,), (1,), (2,), (1, 1), (2, 1))),
        creates=creates,
        window_s=random.choice((10.0, 30.0, 60.0)),
        concurrent=random.choice((1, 2, 3, 5, 10)),
        enforces=random.random() < 0.7,
        counts_attempts=limits_dice.random() < 0.3,
        tells_when=limits_dice.random() < 0.7,
        duration_s=random.choice((0.5, 3.0, 5.0, 10.0)),
        sigma=random.choice((0.0, 0.15, 0.5)),
        latency_s=random.choice((0.0, 0.0, 0.05, 0.3)),
        jitter_s=random.choice((0.0, 0.05, 0.2, 1.0)),
        slow_chance=random.choice((0.0, 0.0, 0.05)),
        slow_s=min(timeout_s, lag_s) * 0.6,
        deadline_s=random.choice((100.0, 200.0)),
        timeout_s=timeout_s,
        lag_s=lag_s,
        skew_s=random.choice((0.0, 0.0, 0.0, -3.0, 2.0, 40.0, -3600.0, 7200.0)),
        switches={
            **switches,
            **some_delays(random, lag_s, timeout_s),
            "slow_seconds": random.uniform(0.5, timeout_s * 1.2),
            "output_ttl": random.choice((3600.0, 3600.0, 20.0)),
        },
        derived_seeds=random.random() < 0.9,
    )
    invocations = _invocations(random, plan, bad)
    plan = _with_webhooks(replace_invocations(plan, invocations))
    return _with_keys(_with_commands(with_contract(plan)))


def with_contract(plan: Plan) -> Plan:
    """What the provider tells of its executions, and what the user says of the organisation."""
    random = Random(f"fluxbatch contract {plan.seed}")  # of its own, as below
    sole = random.random() < 0.5
    switches = dict(plan.switches)
    if random.random() < 0.2:
        switches["total_cap"] = random.choice((1.0, 3.0))
    plan = replace(
        plan,
        dialect=random.choice(("card", "card", "docs")),
        serial_creates=random.choice(("auto", "auto", "always", "never")),
        sole_user=sole,
        has_listing=random.random() >= 0.08,
        switches=switches,
    )
    if not sole:
        return plan
    alone = [replace(one, faults=_without_others(one.faults)) for one in plan.invocations]
    return replace_invocations(plan, alone)


def _without_others(faults: Mapping[str, float]) -> dict[str, float]:
    return {name: chance for name, chance in faults.items() if "stranger" not in name}


def _with_webhooks(plan: Plan) -> Plan:
    """Some runs are told of ends, by a post that does what it likes."""
    random = Random(f"fluxbatch webhooks {plan.seed}")  # of its own: old seeds stay as they were
    if random.random() < 0.5:
        return plan
    switches = dict(plan.switches)
    for name in random.sample(WEBHOOKS, random.choice((0, 1, 2, 4))):
        switches[name] = random.choice((0.1, 0.5, 1.0))
    switches["late_webhook_seconds"] = random.choice((0.5, 10.0, 60.0))
    switches["early_seconds"] = random.choice((0.2, 3.0, plan.timeout_s * 1.1))
    spoilt = random.choice((0.0, 0.0, 0.3))
    return replace(plan, webhooks=True, switches=switches, spoilt_webhooks=spoilt)


def _with_commands(plan: Plan) -> Plan:
    """Somebody steers some of the runs."""
    random = Random(f"fluxbatch commands {plan.seed}")  # of its own, as above
    if random.random() < 0.6:
        return plan
    lanes = [f"key-{account}-0" for account in range(len(plan.accounts))]
    limits, span_s = (plan.creates, plan.concurrent), 20 + 3 * plan.duration_s
    steered = [
        replace(one, commands=drawn_commands(random, lanes, limits, PRICE, span_s))
        if random.random() < 0.7 else one
        for one in plan.invocations
    ]  # fmt: skip
    return replace_invocations(plan, steered)


def _with_keys(plan: Plan) -> Plan:
    """Some runs are given some of their keys while they are at work."""
    random = Random(f"fluxbatch keys {plan.seed}")  # of its own, as above
    texts = [text for text, _ in key_texts(plan.accounts)]
    if len(texts) == 1 or random.random() < 0.4:
        return plan
    given = list[Invocation]()
    for one in plan.invocations:
        withheld, commands = drawn_keys(random, texts, 20 + 3 * plan.duration_s)
        given.append(replace(one, withheld=withheld, commands=[*one.commands, *commands]))
    return replace_invocations(plan, given)


def key_texts(accounts: Sequence[int]) -> list[tuple[str, str]]:
    """(key, account) of every key, by how many each account has."""
    return [
        (f"key-{account}-{number}", f"account-{account}")
        for account, count in enumerate(accounts)
        for number in range(count)
    ]


def some_delays(random: Random, lag_s: float, timeout_s: float) -> dict[str, float]:
    """How late the provider may be: up to all that `reconcile.lag` promises to bear, not beyond."""
    late_s = random.uniform(0.0, 0.9 * lag_s)
    slow_s = 0.6 * min(timeout_s, lag_s)
    unlisted_s = random.uniform(0.0, max(lag_s + timeout_s - slow_s - late_s - 3.0, 0.0))
    return {"late_seconds": late_s, "list_lag": unlisted_s}


def replace_invocations(plan: Plan, invocations: Sequence[Invocation]) -> Plan:
    return replace(plan, invocations=tuple(invocations))


def rows_of(random: Random, which: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(random.choice((1, 2, 3, 3, 4, 5, 7))):
        row: dict[str, Any] = {
            "id": f"r{number}",
            "prompt": f"a lighthouse {which}-{number}",
            "control_image": "https://example.com/depth.png",
            "output_format": random.choice(("png", "png", "png", "jpg", "webp")),
        }
        if random.random() < 0.2:
            row["num_outputs"] = random.randint(2, 3)
        if random.random() < 0.25:
            row["seed"] = random.randint(0, 5)
        if random.random() < 0.15:
            row["repeat"] = random.randint(2, 3)
        if random.random() < 0.15:
            row["control_image"] = f"depth-{random.randint(0, 1)}.png"
        rows.append(row)
        if random.random() < 0.08:
            rows.append({**row, "id": f"again{number}"})
    return rows


def some_switches(random: Random) -> dict[str, float]:
    switches: dict[str, float] = {}
    if random.random() < 0.5:
        switches["bill_errors"] = 1
    if random.random() < 0.5:
        switches["bill_cancelled"] = 1
    if random.random() < 0.15:
        switches["isolated"] = 1
    return switches


def _invocations(random: Random, plan: Plan, bad: float) -> list[Invocation]:
    crashes = random.choice((0, 1, 1, 1, 2, 2, 4)) if bad > 0.15 else 0
    faults = some_faults(random) if bad > 0.3 else {}
    total = sum(row.get("repeat", 1) for rows in plan.rows for row in rows)
    caps = some_caps(random, total)
    invocations = list[Invocation]()
    for _ in range(max(1, crashes + (random.random() < 0.3))):
        doom = _doom(random) if len(invocations) < crashes else Doom()
        invocations.append(_invocation(random, plan, faults, caps, doom))
        if random.random() < 0.5:
            caps = _raised(random, caps)
        if random.random() < 0.3:
            faults = some_faults(random) if bad > 0.3 else {}
    return invocations


def _invocation(
    random: Random,
    plan: Plan,
    faults: Mapping[str, float],
    caps: tuple[int | None, int | None, int | None],
    doom: Doom,
) -> Invocation:
    def seldom(chance: float) -> bool:
        return random.random() < chance

    span_s = 20 + 3 * plan.duration_s
    return Invocation(
        dataset=random.randrange(len(plan.rows)),
        faults=faults,
        doom=doom,
        caps=caps,
        limit=random.randint(1, 4) if seldom(0.06) else None,
        interrupt_at_s=random.uniform(0, span_s) if seldom(0.08) else None,
        cancel_at_s=random.uniform(0, span_s) if seldom(0.08) else None,
        jumps=[(random.uniform(0, 90), _jump_s(random)) for _ in range(2)] if seldom(0.2) else (),
        sleeps=[(random.uniform(0, span_s), random.choice((3.0, 30.0, 4000.0)))]
        if seldom(0.08) else (),
        outage=(random.uniform(0, span_s), random.uniform(1, 60)) if seldom(0.06) else None,
        revoked=(random.uniform(0, span_s), random.uniform(1, 100), random.randint(1, 3))
        if seldom(0.06) else None,
        balance=PRICE * random.randint(0, 4) if seldom(0.05) else None,
        slowness=random.choice((0.0, 0.05, 0.3)),
        badness=random.choice((0.0, 0.0, 0.02, 0.2)),
        full_disk=random.choice((0.0, 0.02, 0.3)) if seldom(0.08) else 0.0,
        pause_s=random.choice((0.0, 0.1, 1.0, 20.0, 70.0, 500.0)),
        retry_first=seldom(0.15),
        deletes_lane_files=seldom(0.03),
    )  # fmt: skip


def _jump_s(random: Random) -> float:
    size = random.choice((1.0, 20.0, 90.0, 3600.0, 100_000.0))
    return size if random.random() < 0.5 else -size


def _doom(random: Random) -> Doom:
    cut = random.random() < 0.25
    kind = random.random()
    if kind < 0.25:
        return Doom(at_s=random.expovariate(1 / 15), is_power_cut=cut)
    if kind < 0.45:
        return Doom(turn=int(random.expovariate(1 / 250)) + 1, is_power_cut=cut)
    if kind < 0.7:
        return Doom(step="", number=int(random.expovariate(1 / 100)) + 1, is_power_cut=cut)
    step = random.choice(
        ("call: before", "call: after", "disk: ", "disk: fsync", "disk: replace", "wire: left POST",
         "wire: leave", "wire: answered POST", "wire: answered GET", "wire: fetched", "wire: block")
    )  # fmt: skip
    return Doom(step=step, number=int(random.expovariate(1 / 6)) + 1, is_power_cut=cut)


def some_faults(random: Random) -> dict[str, float]:
    faults: dict[str, float] = {}
    style = random.random()
    if style < 0.25:
        faults.update(dict.fromkeys(TRANSIENT, 0.1 / 4))
    else:
        count = random.choice((1, 1, 2, 3, 6))
        for name in random.sample(TRANSIENT, count):
            faults[name] = random.choice((0.05, 0.2, 0.5))
    if random.random() < 0.4:
        for name in random.sample(ENDS, random.choice((1, 1, 2))):
            faults[name] = random.choice((0.1, 0.3, 0.7))
    if random.random() < 0.06:
        faults[random.choice(KEYS)] = random.choice((0.05, 0.2))
    if random.random() < 0.1:
        faults[random.choice(MONEY)] = random.choice((0.3, 1.0))
    return faults


def some_caps(random: Random, total: int) -> tuple[int | None, int | None, int | None]:
    caps: list[int | None] = [None, None, None]
    if random.random() < 0.4:
        room = PRICE * random.randint(1, total + 2) + random.choice((0, 0, 1, PRICE - 1))
        caps[random.randrange(3)] = room
    return caps[0], caps[1], caps[2]


def _raised(
    random: Random, caps: tuple[int | None, int | None, int | None]
) -> tuple[int | None, int | None, int | None]:
    more = PRICE * random.randint(1, 5)
    run, day, dataset = (None if cap is None else cap + more for cap in caps)
    return run, day, dataset
