"""The faults that the seeds found, as plain stories, so that they stay found when seeds change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.life import Doom
from tests.simulation.plan import Invocation, Plan
from tests.simulation.shared.plan import OneLife, Round, Seat, SharedPlan, shared_plan
from tests.simulation.shared.process import Still
from tests.simulation.shared.running import run_plan


def _plan(
    *lives: OneLife, rows: int = 4, told: Invocation | None = None,
    steps: Sequence[tuple[float, float]] = (), promotions: Sequence[float] = (), **changes: Any,
) -> SharedPlan:  # fmt: skip
    """Each of *lives* on a machine of its own."""
    named = [
        {"prompt": f"pier {n}", "control_image": "https://example.com/d.png",
         "output_format": "png"} for n in range(rows)
    ]  # fmt: skip
    options: dict[str, Any] = {
        "seed": 1, "accounts": (1, 1), "lag_s": 5.0, "timeout_s": 5.0, **changes
    }  # fmt: skip
    base = Plan(rows=(named,), invocations=(), **options)
    seats = [Seat([one]) for one in lives]
    return shared_plan(base, Round(told or Invocation(), seats, steps, promotions))


def _with_another_dataset(plan: SharedPlan, *, seat: int) -> SharedPlan:
    """With that seat's machine at work on a dataset of its own, by the same keys."""
    rows = [{**row, "prompt": f"another {row['prompt']}"} for row in plan.base.rows[0]]
    (first,) = plan.rounds
    seats = [replace(one, dataset=int(place == seat)) for place, one in enumerate(first.seats)]
    base = replace(plan.base, rows=(plan.base.rows[0], rows))
    return SharedPlan(base, [replace(first, seats=seats)])


def test_what_a_process_had_to_fetch_is_fetched_by_the_others() -> None:
    """
    It stands still in the last download: the others waited for it, buried it, and ended with
    exit 1.
    """
    still = OneLife(stills=[Still(60.0, "wire: fetched", 1)])
    run_plan(_plan(still, OneLife(pause_s=2.0), rows=1))


def test_jobs_that_a_dead_process_had_claimed_are_made_by_the_others() -> None:
    """
    Who had nothing to do buried it, and took the run for done: the jobs had been claimed when it
    had asked.
    """
    killed = OneLife(doom=Doom("call: before Intend", 1))
    for pause_s in (0.3, 0.8, 1.3):  # it may be a heartbeat that buries it
        run_plan(_plan(killed, OneLife(pause_s=pause_s), rows=1, accounts=(1,)))


def test_who_was_buried_while_it_stood_still_joins_anew() -> None:
    """
    Whatever it does first: it claimed jobs, and ended with an error of the database.
    """
    for number in (*range(3, 24, 3), 30, 40):
        still = OneLife(stills=[Still(25.0, "call", number)])
        run_plan(_plan(still, OneLife()))


def test_a_create_never_leaves_late_though_the_servers_clock_is_set() -> None:
    """
    Connecting took six seconds, and the clock that its intent was dated by had begun anew.
    """
    steps = [(1.5 * number, 20.0 * (-1) ** number) for number in range(1, 16)]
    slow = OneLife(badness=1.0)
    for rows in (8, 9):
        run_plan(_plan(slow, rows=rows, accounts=(1,), timeout_s=10.0, steps=steps))


@pytest.mark.parametrize("by_s", [20.0, -20.0])
def test_a_create_is_found_absent_though_the_servers_clock_is_set(by_s: float) -> None:
    """
    Its holder stood still before it left. Whoever looked for it when the clock was set did so no
    more, and ended with exit 7.
    """
    still = OneLife(stills=[Still(25.0, "call: after Intend", 2)])
    ran = run_plan(_plan(still, OneLife(pause_s=2.0), accounts=(1,), steps=[(12.0, by_s)]))
    assert ran.codes[0] == [0, 0]


def test_a_lease_that_is_renewed_opens_its_lane_again() -> None:
    """
    An intent found it run out, for the server's clock was set ahead; nobody else took the lane, and
    the run stood still for ever.
    """
    steps = [(6.0 * number, 20.0) for number in range(1, 6)]
    ran = run_plan(_plan(OneLife(), rows=8, accounts=(1,), concurrent=1, steps=steps))
    assert ran.codes[0] == [0]


@pytest.mark.parametrize("worker", [OneLife(pause_s=1.0), OneLife(pause_s=6.0)])
def test_nobody_waits_for_the_dead_longer_where_the_servers_clock_is_set_back(
    worker: OneLife,
) -> None:
    """
    Their leases ended an hour later by then, whether somebody saw the step or came after it.
    """
    killed = OneLife(doom=Doom(at_s=4.0))
    ran = run_plan(_plan(killed, worker, rows=2, accounts=(1,), steps=[(5.0, -3600.0)]))
    assert ran.codes[0] == [None, 0]
    assert ran.virtual_s < 120.0


def test_what_stopped_a_run_is_told_though_a_process_dies_meanwhile() -> None:
    """
    What it had running is adopted by the next run; it was taken for a key's that is gone, exit 5.
    """
    killed = OneLife(doom=Doom(at_s=42.0))
    limited = Invocation(limit=13)
    ran = run_plan(_plan(OneLife(), killed, told=limited, rows=16, duration_s=15.0, concurrent=2))
    assert ran.codes[0] == [None, 4]


@pytest.mark.parametrize("by_s", [-100.0, 100.0])
def test_a_lost_create_is_found_though_the_servers_clock_was_set_before(by_s: float) -> None:
    """
    The provider's date was carried on over the step: its listing was asked for other hours, and
    what was not in them was bought once more.
    """
    lost = Invocation(faults={"create_timeout_after": 0.5})
    run_plan(
        _plan(OneLife(), told=lost, rows=8, accounts=(1,), duration_s=1.0, steps=[(8.0, by_s)])
    )


def test_what_a_holder_that_stood_still_says_late_is_followed_by_the_next_one() -> None:
    """
    Its answer came when the next one was searching for that create; then nobody followed it.
    """
    still = OneLife(stills=[Still(17.0, "call: after Transition accepted", 3)])
    ran = run_plan(_plan(still, OneLife(pause_s=3.0), concurrent=3, duration_s=4.0, seed=847515))
    assert ran.codes[0] == [0, 0]


def test_who_has_only_refused_keys_left_leaves_its_jobs_to_the_others() -> None:
    """
    It counted its dead lane as its share, and kept a claimed job for it: the other one waited for
    it, and the run never ended.
    """
    revoked = Invocation(revoked=(2.0, 500.0, 1))
    ran = run_plan(_plan(OneLife(), OneLife(), told=revoked, rows=16, concurrent=2, duration_s=3.0))
    assert ran.codes[0] == [0, 0]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_lane_that_one_has_no_good_key_of_is_another_ones_share(bad: int) -> None:
    """
    Each was given half of what both have a key of; the half that one may not use nobody took, and
    the run never ended.
    """
    plan = _plan(OneLife(), OneLife(), rows=16, concurrent=2, duration_s=3.0)
    first = plan.rounds[0]
    seats = [first.seats[0], replace(first.seats[1], stale=frozenset({bad}))]
    ran = run_plan(replace(plan, rounds=[replace(first, seats=seats)]))
    assert ran.codes[0] == [0, 0]


@pytest.mark.parametrize(("seed", "number", "pause_s"), [(1, 5, 0.0), (3, 5, 3.0)])
def test_what_a_holder_that_stood_still_says_late_of_an_end_is_fetched_by_the_next_one(
    seed: int, number: int, pause_s: float
) -> None:
    """
    The image was paid and its job generated, but nobody fetched it: exit 1.
    """
    still = OneLife(stills=[Still(11.0, "call: after Transition accepted", number)])
    plan = _plan(
        still, OneLife(pause_s=pause_s), rows=9, accounts=(1,), creates=3, window_s=10.0,
        concurrent=3, duration_s=0.5, seed=seed, jitter_s=1.0,
    )  # fmt: skip
    assert run_plan(plan).codes[0] == [0, 0]


def test_what_runs_on_a_lane_that_another_dataset_took_is_waited_for() -> None:
    """
    Its holder was cut off. The run took the lane for somebody else's business, and ended with
    exit 5: "predictions run that no key may ask about".
    """
    plan = _plan(
        OneLife(cut_off=(3.0, 12.0)), OneLife(pause_s=1.0), rows=2, accounts=(1,), duration_s=25.0
    )
    assert run_plan(_with_another_dataset(plan, seat=1)).codes[0] == [0, 0]


def test_a_limit_is_told_though_another_dataset_has_the_account_of_what_still_runs() -> None:
    """
    Who made it was killed. The run took it for a prediction that no key may ask about, exit 5; the
    next run adopts it.
    """
    killed, late = OneLife(doom=Doom(at_s=4.0)), OneLife(pause_s=8.0)
    limited = Invocation(limit=3)
    plan = _plan(
        killed, OneLife(pause_s=1.0), late, told=limited, rows=8, concurrent=1, duration_s=25.0
    )
    ran = run_plan(_with_another_dataset(plan, seat=1))
    assert ran.codes[0] == [None, 4, 4]


@pytest.mark.parametrize("by_s", [20.0, -20.0])
def test_a_lost_create_is_found_though_the_servers_clock_was_set_when_nobody_was_at_work(
    by_s: float,
) -> None:
    """
    Nobody noticed: what the first process had learned of the provider's clock was taken for true of
    what the second one sent, and that was bought once more.
    """
    lives = [
        OneLife(doom=Doom("wire: answered POST", 2)),
        OneLife(pause_s=29.0, doom=Doom("wire: answered POST", 2)),
        OneLife(pause_s=4.0),
    ]
    plan = _plan(
        rows=6, accounts=(1,), creates=5, window_s=20.0, concurrent=2, duration_s=1.0, seed=2,
        dialect="card", sole_user=True, serial_creates="always", steps=[(15.0, by_s)],
    )  # fmt: skip
    ran = run_plan(replace(plan, rounds=[replace(plan.rounds[0], seats=[Seat(lives)])]))
    assert ran.codes[0] == [0]


def test_a_create_on_its_way_is_not_taken_for_one_that_a_failover_has_lost() -> None:
    """
    Whoever joined after it looked through another account first, was shown that create in the
    organisation's listing, and entered it as one more prediction of its job.
    """
    still = OneLife(stills=[Still(60.0, "wire: fetched", 2)])
    late = OneLife(pause_s=15.0)
    ran = run_plan(_plan(still, late, rows=8, concurrent=3, duration_s=6.0, promotions=[2.0]))
    assert ran.codes[0] == [0, 0]


def test_what_an_old_key_of_an_account_had_made_is_fetched_by_who_has_a_newer_one() -> None:
    """
    The machine that made it is gone, and its key was replaced: the job was left `generated`, with
    exit 1 however often the run was begun again.
    """
    killed = OneLife(doom=Doom("wire: fetched", 1))
    plan = _plan(killed, OneLife(pause_s=20.0), rows=4, accounts=(2,), concurrent=2)
    (first,) = plan.rounds
    for old in (0, 1):
        newer = replace(first.seats[1], stale=frozenset({old}))
        seats = (first.seats[0], newer)
        ran = run_plan(replace(plan, rounds=[replace(first, seats=seats)]))
        assert ran.codes[0] == [None, 0]


def test_what_a_failover_lost_at_a_provider_without_a_listing_is_waited_for_for_an_hour() -> None:
    """
    It was waited for without an end, and nobody said until when.
    """
    ran = run_plan(_plan(OneLife(), rows=3, accounts=(1,), has_listing=False, promotions=[2.0]))
    assert ran.codes[0] == [0]
    assert 3600 < ran.virtual_s < 3700


def test_unknown_creates_are_told_by_every_process_that_a_limit_stops() -> None:
    """
    Who ended last told the limit alone, exit 4: the other one, which had left, was taken for one
    that had vanished with something running.
    """
    lost = Invocation(limit=3, faults={"create_reset_after": 1.0})
    ran = run_plan(_plan(OneLife(), OneLife(pause_s=1.0), told=lost, rows=8, has_listing=False))
    assert ran.codes[0] == [7, 7]
