"""The faults the seeds found, as plain stories, so that they stay found when the seeds change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.life import Doom
from tests.simulation.plan import Invocation, Plan
from tests.simulation.running import run_plan


def _rows(which: str, count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"{which} {n}", "control_image": "https://example.com/d.png",
         "output_format": "png"} for n in range(count)
    ]  # fmt: skip


def _plan(*invocations: Invocation, datasets: int = 1, **changes: Any) -> Plan:
    rows = [_rows(f"pier {number}", 3) for number in range(datasets)]
    return Plan(seed=1, rows=rows, invocations=invocations, **changes)


@pytest.mark.parametrize("by_s", [-100_000.0, -3600.0, -90.0, 90.0, 3600.0, 100_000.0])
@pytest.mark.parametrize("fault", ["create_reset_after", "create_late", "create_garbled"])
def test_a_lost_create_is_found_though_the_wall_clock_jumps(fault: str, by_s: float) -> None:
    """
    Seeds 158, 299, 1189: listings were asked for the wrong hours, and what they lacked was bought
    once more.
    """
    jumping = Invocation(
        faults={fault: 1.0, "list_late": 0.5}, jumps=[(0.3, by_s), (30.0, -2 * by_s)], slowness=0.0
    )

    late = {"late_seconds": 25.0, "list_lag": 25.0}
    run_plan(_plan(jumping, switches=late, lag_s=30.0, timeout_s=30.0))


@pytest.mark.parametrize("by_s", [-90.0, 3600.0])
@pytest.mark.parametrize("is_power_cut", [False, True], ids=["kill", "power cut"])
def test_a_lost_create_is_found_after_a_crash_and_a_jump(is_power_cut: bool, by_s: float) -> None:
    """
    Nothing but the ledger and the provider's own time can tell where to look.
    """
    doom = Doom("wire: left POST", 1, is_power_cut=is_power_cut)
    first = Invocation(doom=doom, jumps=[(0.0, by_s)], slowness=0.0)
    then = Invocation(jumps=[(0.0, by_s), (0.5, by_s)], slowness=0.0)

    run_plan(_plan(first, then))


def test_a_reboot_does_not_empty_the_window_though_the_clock_was_set_ahead() -> None:
    """
    Seed 5: the window was judged by the wall clock, an hour ahead of the creates it should count.
    """
    first = Invocation(doom=Doom(at_s=20.0, is_power_cut=True), jumps=[(15.0, 3600.0)])

    run_plan(_plan(first, creates=2, window_s=60.0, duration_s=3.0))


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_lost_create_is_found_though_the_machine_slept_over_an_answer(after_s: float) -> None:
    """
    Seed 17501: the provider's time was taken from an answer that was an hour old when it was
    read, so listings ended an hour before the creates, and what they lacked was bought once more.
    """
    sleepy = Invocation(
        faults={"create_timeout_after": 1.0}, sleeps=[(after_s, 4000.0)], slowness=0.0
    )

    run_plan(_plan(sleepy, latency_s=0.3, jitter_s=0.0))


@pytest.mark.parametrize("seed", [8, 28])
def test_the_first_create_of_a_new_account_is_not_taken_for_a_lost_one(seed: int) -> None:
    """
    Seed 28: a run was begun again with one more account. Its first create was on its way, dated
    by our clock, while a lost one was looked for by the provider's, two hours ahead: that one got
    the new one's execution, and the new one was bought twice.
    """
    first = Invocation(withheld=frozenset({"key-1-0"}), cancel_at_s=0.12)
    early = {"webhook_early": 1.0, "webhook_lost": 0.5, "early_seconds": 3.0}
    plan = _plan(
        first, accounts=(1, 1), switches=early, webhooks=True, skew_s=7200.0, deadline_s=120.0,
        dialect="card", sole_user=True,
    )  # fmt: skip

    run_plan(replace(plan, seed=seed, rows=[_rows("a lighthouse", 2)]))


@pytest.mark.parametrize("at_s", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("doom_s", [1.0, 4.0, 9.0])
def test_a_key_that_is_added_finds_what_was_left_on_its_account(doom_s: float, at_s: float) -> None:
    """
    A run with two accounts dies with full windows; the next one begins without the second key and
    is given it: what left before counts in its window, and what still runs holds its slots.
    """
    first = Invocation(doom=Doom(at_s=doom_s), slowness=0.0)
    added = [(at_s, "add-key", "key-1-0"), (at_s + 1.0, "add-key", "key-1-0")]
    then = Invocation(withheld=frozenset({"key-1-0"}), commands=added, slowness=0.0)
    plan = _plan(
        first, then, accounts=(1, 1), creates=3, concurrent=2, duration_s=6.0, window_s=60.0,
        serial_creates="never",
    )  # fmt: skip

    run_plan(replace(plan, rows=[_rows("pier", 14)]))


def test_the_next_dataset_counts_creates_though_the_wall_clock_was_set_ahead() -> None:
    """
    Seed 19351: a lane's file dropped what seemed to be older than a day, and was a minute old.
    """
    first = Invocation(dataset=0, slowness=0.0)
    ahead = Invocation(dataset=0, jumps=[(0.0, 100_000.0)], slowness=0.0, pause_s=0.0)
    last = Invocation(dataset=1, slowness=0.0, pause_s=0.0)

    run_plan(_plan(first, ahead, last, datasets=2, creates=4, window_s=60.0, duration_s=0.5))


def test_another_dataset_counts_a_create_that_was_lost_and_found() -> None:
    """
    Seed 2664: it counted from its intent, not from when it was found, and made one too many.
    """
    lost = {"create_timeout_after": 1.0}
    first = Invocation(dataset=0, faults=lost, slowness=0.0)

    run_plan(_plan(first, datasets=2, creates=3, window_s=60.0, duration_s=0.5, lag_s=10.0))


def test_a_restart_counts_a_create_given_up_before_those_answered_since() -> None:
    """
    Seed 56916: only the latest creates were counted again, and one that was lost before them
    arrived after them.
    """
    late = {"late_seconds": 20.0}
    first = Invocation(faults={"create_late": 0.5}, doom=Doom(at_s=32.0), slowness=0.0)
    for creates in (2, 3, 4):
        for window_s in (20.0, 30.0):
            run_plan(
                _plan(first, switches=late, creates=creates, window_s=window_s, duration_s=0.5)
            )


def test_a_cancelled_run_leaves_without_an_error_of_its_ledger() -> None:
    """
    Seed 11006: whoever came out of a blocking call found the writer gone, and said so.
    """
    for tenth in range(30):
        run_plan(_plan(Invocation(cancel_at_s=tenth / 10, slowness=1.0)))


def test_refusals_are_answers_so_the_provider_can_be_reached() -> None:
    """
    Seed 10699: two creates that were too late, minutes apart, ended a run that heard 429 between.
    """
    refused = Invocation(faults={"create_429_rate": 0.98}, slowness=1.0, badness=0.2)

    run_plan(_plan(refused, deadline_s=100.0))


def test_a_listing_and_a_webhook_that_find_a_create_at_once_do_not_quarrel() -> None:
    """
    Seeds 110, 279: while one account's listing was read, another's creates were all told of.
    """
    both = Invocation(faults={"create_reset_after": 1.0}, slowness=0.3)

    for duration_s in (1.0, 2.0, 5.0):
        for jitter_s in (0.2, 1.0):
            plan = _plan(both, accounts=(1, 1), duration_s=duration_s, webhooks=True)
            run_plan(replace(plan, jitter_s=jitter_s))


def test_a_success_that_was_given_up_is_kept_when_its_webhook_comes() -> None:
    """
    The provider denied a prediction and lost it from its listing; its webhook, half a minute after
    that was believed, has the picture all the same.
    """
    late = {"webhook_late": 1.0, "late_webhook_seconds": 40.0}
    denied = Invocation(faults={"prediction_lost": 0.4}, slowness=0.0)

    plan = _plan(denied, switches=late, webhooks=True, concurrent=1, duration_s=30.0, lag_s=10.0)
    told: list[str] = []
    for seed in range(6):
        run_plan(replace(plan, seed=seed), told.append)
    moves = [line for line in told if "PredictionMoved(" in line]
    kept = [
        number
        for number, line in enumerate(moves)
        if "state=<PredictionState.LOST" in line
        and any(_is_success_of(_prediction(line), later) for later in moves[number:][:4])
    ]
    assert len(kept) >= 3


def _prediction(line: str) -> str:
    return line.split("job='")[1].split(", provider_id")[0]


def _is_success_of(prediction: str, line: str) -> bool:
    return prediction in line and "state=<PredictionState.SUCCEEDED" in line


@pytest.mark.parametrize("moment", ["wire: left POST", "wire: answered POST", "call: after Move"])
@pytest.mark.parametrize("early", [0.0, 1.0])
def test_what_is_told_while_nobody_listens_is_found_by_asking(moment: str, early: float) -> None:
    """
    A crash around each create, webhooks before and after it, to this process and the next.
    """
    switches = {"webhook_early": early, "webhook_repeat": 0.5, "early_seconds": 2.0}
    for number in (1, 2, 3):
        first = Invocation(doom=Doom(moment, number), slowness=0.1)
        run_plan(_plan(first, Invocation(pause_s=0.0), switches=switches, webhooks=True))
