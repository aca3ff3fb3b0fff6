"""`reconcile`: unknown creates settled, costs learned, what the run could not know."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.errors import ExitCode
from fluxbatch.events import Noticed
from tests.emulator.support import until
from tests.maintenance.support import PRICE, Ward
from tests.support.running import KEY

_UNKNOWN = "SELECT count(*) FROM predictions WHERE state = 'unknown'"


async def test_a_finished_dataset_agrees_with_the_provider(ward: Ward) -> None:
    """
    Nothing to settle, nothing to fetch, nothing created, exit 0.
    """
    await ward.run(rows=3)
    created = ward.stats["create_calls"]

    report = await ward.reconcile()

    told = report.as_json()
    assert told.pop("seconds")
    assert told == {
        "exit": 0,
        "reason": "the ledger and the provider agree",
        "unknown": {"found": 0, "absent": 0, "left": 0},
        "running": 0,
        "settled": {"predictions": 0, "up_usd": "0.00", "down_usd": "0.00"},
        "read_again": {"recovered": 0, "not_alive": 0, "still_alive": 0},
        "images": {"fetched": 0, "left": 0},
        "orphans": [],
        "undecided": [],
        "missing": {"predictions": 0, "cost_usd": "0.00", "ids": []},
        "strangers": 0,
        "price_drift": [],
        "unaudited": {"predictions": 0, "reasons": []},
        "cost_usd": {"dataset": "0.075", "at_risk": "0.00"},
    }
    assert ward.stats["create_calls"] == created


async def test_a_create_without_an_answer_is_found_followed_and_fetched(ward: Ward) -> None:
    """
    The run was killed after the provider billed it; nothing is bought, and the job is done.
    """
    ward.core.faults["create_reset_after"] = 1
    await ward.run_until(_UNKNOWN, 2, rows=2)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.found, report.absent, report.unknown, report.fetched) == (2, 0, 0, 2)
    assert ward.jobs(JobState.DONE) == ward.stats["created"] == 2
    assert ward.spent() == ward.stats["billed_micro_usd"] == 2 * PRICE


async def test_a_create_that_is_listed_late_is_found_all_the_same(ward: Ward) -> None:
    """
    It is looked for until two late listings lack it.
    """
    ward.core.faults.merge({"create_reset_after": 1, "list_late": 1, "list_lag": 20})
    await ward.run_until(_UNKNOWN, 1, rows=1)

    report = await ward.reconcile()

    assert (report.found, report.unknown) == (1, 0)
    assert ward.states("jobs") == ["done"]
    assert ward.stats["created"] == 1


async def test_a_create_that_never_arrived_is_pending_again_and_not_sent_again(ward: Ward) -> None:
    """
    Two late, complete listings lack it; buying it is the next run's.
    """
    ward.settings["reconcile"] = {"patience": 20}
    ward.core.faults["create_reset_before"] = 1
    await ward.run_until(_UNKNOWN, 1, rows=1)
    ward.core.faults["create_reset_before"] = 0

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.found, report.absent) == (0, 1)
    assert (ward.states(), ward.states("jobs")) == (["absent"], ["pending"])
    assert (ward.stats["created"], ward.spent()) == (0, 0)


@pytest.mark.parametrize("fault", ["list_403", "list_500"])
async def test_what_cannot_be_looked_for_stays_unknown_and_its_money_reserved(
    ward: Ward, fault: str
) -> None:
    """
    Without a listing nothing is decided: exit 7, and the reason is said.
    """
    ward.core.faults.merge({"create_reset_after": 1, fault: 1})
    ward.flags = {"reconcile": {"patience": 2.0}}
    await ward.run_until(_UNKNOWN, 1, rows=1)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.UNKNOWN_LEFT
    assert (report.unknown, len(report.unread)) == (1, 1)
    assert ward.states("jobs") == ["active"]
    assert ward.bench.query("SELECT reserved FROM predictions") == [(PRICE,)]
    assert any(isinstance(event, Noticed) for event in ward.heard)


@pytest.mark.parametrize(
    ("fault", "code"), [("list_403", ExitCode.NO_KEY), ("list_500", ExitCode.ERROR)]
)
async def test_an_audit_that_cannot_be_made_is_no_agreement(
    ward: Ward, fault: str, code: ExitCode
) -> None:
    """
    A listing that is forbidden or broken proves nothing, neither right nor wrong.
    """
    await ward.run(rows=2)
    ward.core.faults[fault] = 1

    report = await ward.reconcile()

    assert report.ended()[0] is code
    assert report.missing == []
    assert "listing could not be read" in report.unread[0]


async def test_a_price_that_rose_is_booked_and_reported(ward: Ward) -> None:
    """
    The polls told no cost, so the price was booked; the listing knows better.
    """
    ward.core.faults.merge({"no_cost": 1, "cost_higher": 1, "cost_factor": 2})
    await ward.run(rows=2)
    assert ward.spent() == 2 * PRICE

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.settled, report.settled_up, report.settled_down) == (2, 2 * PRICE, 0)
    assert [tuple(drift) for drift in report.drift] == [(PRICE, 2 * PRICE, 2)]
    assert ward.spent() == ward.stats["billed_micro_usd"] == 4 * PRICE


async def test_an_estimate_comes_down_to_what_was_billed(ward: Ward) -> None:
    """
    Errors that told no cost counted in full; the provider did not bill them.
    """
    ward.core.faults.merge({"no_cost": 1, "prediction_error": 1})
    await ward.run(rows=1)
    assert ward.spent() == 3 * PRICE

    report = await ward.reconcile()

    assert (report.settled, report.settled_down) == (3, 3 * PRICE)
    assert report.drift == []
    assert ward.spent() == ward.stats["billed_micro_usd"] == 0
    assert ward.bench.query("SELECT sum(estimated) FROM predictions") == [(0,)]


async def test_a_cheaper_price_is_settled_downward(ward: Ward) -> None:
    """
    A success whose poll told no cost, at half the price.
    """
    ward.core.faults.merge({"no_cost": 1, "cost_higher": 1, "cost_factor": 0.5})
    await ward.run(rows=1)

    report = await ward.reconcile()

    assert (report.settled_up, report.settled_down) == (0, PRICE // 2)
    assert ward.spent() == ward.stats["billed_micro_usd"] == PRICE // 2


async def _timed_out(ward: Ward, **faults: Any) -> None:
    """One job whose prediction outlived twice the deadline."""
    ward.settings["provider"] = {"deadline": 0.4}
    ward.core.faults.merge({"cancel_ignored": 1, **faults})
    await ward.run(rows=1)
    assert ward.states() == ["timed_out"]


async def test_a_success_found_later_is_kept_and_fetched(ward: Ward) -> None:
    """
    It timed out for us, and ended well all the same: paid, so it is had.
    """
    await _timed_out(ward, duration=40)
    await until(lambda: ward.stats["billed"] == 1)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.recovered, report.fetched) == (1, 1)
    assert (ward.states(), ward.states("jobs")) == (["succeeded"], ["done"])
    assert ward.spent() == ward.stats["billed_micro_usd"] == PRICE


async def test_what_timed_out_may_be_retried_once_it_was_read_again_and_is_dead(
    ward: Ward,
) -> None:
    """
    While it may be alive another one could be paid twice, whatever `retry` is told.
    """
    await _timed_out(ward, prediction_stuck=1)
    assert ward.retry(FailureClass.TIMED_OUT).jobs == 0

    alive = await ward.reconcile()
    assert (alive.still_alive, alive.not_alive) == (1, 0)
    assert ward.retry(FailureClass.TIMED_OUT).jobs == 0

    ward.core.executor.cancel(ward.bought()[0], ward.core.advance())
    dead = await ward.reconcile()
    assert (dead.still_alive, dead.not_alive) == (0, 1)
    assert ward.spent() == ward.stats["billed_micro_usd"] == 0

    ward.core.faults["prediction_stuck"] = 0
    assert ward.retry(FailureClass.TIMED_OUT).jobs == 1
    assert await ward.run(rows=1) == ExitCode.DONE
    assert ward.stats["double_billed"] == 0


async def test_what_was_lost_may_be_retried_once_nobody_knows_it_still(ward: Ward) -> None:
    """
    Neither its id nor the listing tells of it; its estimate stays, and it is no news.
    """
    ward.core.faults.merge({"prediction_lost": 1, "duration": 20})
    await ward.run(rows=1)
    assert ward.states() == ["lost"]

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.not_alive, report.missing) == (1, [])
    assert ward.retry(FailureClass.LOST).jobs == 1


async def test_running_predictions_are_followed_and_fetched(ward: Ward) -> None:
    """
    A run that was killed in the middle needs no second one to be finished.
    """
    ward.core.faults["duration"] = 20
    await ward.leave_running(rows=3)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert report.fetched == 3
    assert ward.jobs(JobState.DONE) == 3
    assert ward.stats["created"] == 3


async def test_patience_has_an_end_and_what_runs_then_runs_on(ward: Ward) -> None:
    """
    Nothing is cancelled and nothing is lost: the next one follows it again.
    """
    ward.core.faults["prediction_stuck"] = 1
    ward.flags = {"reconcile": {"patience": 0.3}}
    await ward.leave_running(rows=2)

    report = await ward.reconcile()

    assert (report.ended()[0], report.running) == (ExitCode.DONE, 2)
    assert ward.stats["cancels"] == 0


async def test_predictions_that_no_key_may_read_stay_running_and_are_said(ward: Ward) -> None:
    """
    Exit 5: a key is missing, and nothing else is wrong.
    """
    ward.core.faults["duration"] = 20
    await ward.leave_running(rows=1)
    ward.core.gate.revoked.add(KEY)

    report = await ward.reconcile()

    assert (report.ended()[0], report.running) == (ExitCode.NO_KEY, 1)


async def test_books_that_do_not_add_up_are_a_mismatch_and_stop_everything(ward: Ward) -> None:
    """
    A ledger that somebody changed by hand is not worked on.
    """
    await ward.run(rows=1)
    ward.change("UPDATE budgets SET settled = 1")
    calls = ward.stats["calls"]

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.MISMATCH
    assert "0.000001" in report.ended()[1]
    assert ward.stats["calls"] == calls


async def test_a_dataset_that_never_ran_has_nothing_to_reconcile(ward: Ward) -> None:
    """
    An empty ledger agrees with everybody.
    """
    ward.make_empty()

    assert (await ward.reconcile()).ended()[0] is ExitCode.DONE


async def test_no_key_is_in_the_report_the_events_or_the_folder(ward: Ward) -> None:
    """
    Not even when every answer quotes it.
    """
    ward.core.faults.merge({"create_reset_after": 1})
    await ward.run_until(_UNKNOWN, 1, rows=1)
    report = await ward.reconcile()

    assert KEY not in repr(report) + repr(report.as_json()) + repr(ward.heard)
    assert [path for path in ward.bench.folder.rglob("*")
            if path.is_file() and KEY.encode() in path.read_bytes()] == []  # fmt: skip
