"""`cancel`: what runs is asked to stop, and whatever comes of it is kept and recorded."""

from __future__ import annotations

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode, HeldElsewhere
from tests.maintenance.support import PRICE, Ward
from tests.support.running import KEY

_STATES = "SELECT DISTINCT state FROM predictions"


async def test_what_runs_is_cancelled_failed_and_not_bought_again(ward: Ward) -> None:
    """
    The provider ended it unbilled; a later run leaves those jobs alone.
    """
    ward.core.faults["prediction_stuck"] = 1
    await ward.leave_running(rows=3)

    report = await ward.cancel()

    assert report.ended() == (ExitCode.DONE, "nothing runs any more")
    assert (report.asked, report.cancelled, report.running) == (3, 3, 0)
    assert ward.states() == ["cancelled"] * 3
    assert ward.bench.query("SELECT DISTINCT failure FROM jobs") == [("cancelled",)]
    assert ward.spent() == ward.stats["billed_micro_usd"] == 0
    assert await ward.run(rows=3) == ExitCode.SOME_FAILED
    assert ward.stats["created"] == 3


async def test_a_cancelled_prediction_that_is_billed_all_the_same_is_booked(ward: Ward) -> None:
    """
    Cost stays reserved until the provider says how it ended, and is what the provider says.
    """
    ward.core.faults.merge({"prediction_stuck": 1, "bill_cancelled": 1})
    await ward.leave_running(rows=2)

    await ward.cancel()

    assert ward.spent() == ward.stats["billed_micro_usd"] == 2 * PRICE
    assert ward.bench.query("SELECT sum(reserved) FROM predictions") == [(0,)]


async def test_what_finished_anyway_is_kept_and_fetched(ward: Ward) -> None:
    """
    The provider answered "cancelled" and went on: it is paid, so it is had.
    """
    ward.core.faults.merge({"cancel_ignored": 1, "duration": 20})
    await ward.leave_running(rows=2)

    report = await ward.cancel()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.asked, report.finished, report.fetched) == (2, 2, 2)
    assert ward.jobs(JobState.DONE) == 2
    assert ward.spent() == ward.stats["billed_micro_usd"] == 2 * PRICE


async def test_what_neither_stops_nor_ends_stays_running_with_its_money_reserved(
    ward: Ward,
) -> None:
    """
    The wait has an end; exit 4 says that jobs are left.
    """
    ward.core.faults.merge({"cancel_ignored": 1, "prediction_stuck": 1})
    await ward.leave_running(rows=2)

    report = await ward.cancel(wait_s=0.3)

    assert report.ended()[0] is ExitCode.STOPPED
    assert (report.asked, report.running) == (2, 2)
    assert ward.bench.query(_STATES) == [("running",)]
    assert ward.bench.query("SELECT sum(reserved) FROM predictions") == [(2 * PRICE,)]
    asked = ward.bench.query("SELECT count(cancel_asked_at) FROM predictions")
    assert asked == [(2,)]


async def test_a_cancel_that_fails_is_said_and_the_prediction_followed(ward: Ward) -> None:
    """
    500 on every try: it was not asked to stop, and finishes.
    """
    ward.core.faults.merge({"cancel_500": 1, "duration": 100})
    await ward.leave_running(rows=1)

    report = await ward.cancel(wait_s=10.0)

    assert (report.asked, report.finished) == (0, 1)
    assert "500" in report.refused[0]


async def test_what_was_found_by_its_input_alone_is_spared(ward: Ward) -> None:
    """
    It may be a colleague's; it is followed and never cancelled.
    """
    ward.core.faults.merge({"create_reset_after": 1, "duration": 40})
    found = "SELECT count(*) FROM predictions WHERE adopted = 'by input'"
    await ward.run_until(found, 1, rows=1)

    report = await ward.cancel()

    assert (report.asked, report.spared, report.finished) == (0, 1, 1)
    assert ward.stats["cancels"] == 0


async def test_a_create_without_a_known_outcome_cannot_be_cancelled(ward: Ward) -> None:
    """
    It has no id to ask with: exit 7, and `reconcile` is what comes next.
    """
    ward.core.faults["create_reset_after"] = 1
    await ward.run_until("SELECT count(*) FROM predictions WHERE state = 'unknown'", 1, rows=1)

    report = await ward.cancel()

    assert report.ended()[0] is ExitCode.UNKNOWN_LEFT
    assert (report.asked, report.unknown) == (0, 1)


async def test_without_a_key_that_may_ask_nothing_is_cancelled(ward: Ward) -> None:
    """
    Exit 5: the predictions run on.
    """
    ward.core.faults["prediction_stuck"] = 1
    await ward.leave_running(rows=2)
    ward.core.gate.revoked.add(KEY)

    report = await ward.cancel()

    assert report.ended()[0] is ExitCode.NO_KEY
    assert (report.asked, report.running, len(report.refused)) == (0, 2, 2)
    assert KEY not in repr(report)


async def test_many_cancellations_alike_trip_no_breaker(ward: Ward) -> None:
    """
    Identical failures in a row stop a run; here they are what was asked for.
    """
    ward.settings["stop"] = {"identical_failures": 2}
    ward.core.faults["prediction_stuck"] = 1
    await ward.leave_running(rows=8)

    assert (await ward.cancel()).cancelled == 8


async def test_nothing_runs_and_nothing_is_asked(ward: Ward) -> None:
    """
    A finished dataset.
    """
    await ward.run(rows=1)
    calls = ward.stats["calls"]

    assert (await ward.cancel()).ended() == (ExitCode.DONE, "nothing runs any more")
    assert ward.stats["calls"] == calls


async def test_a_run_in_progress_elsewhere_is_named_with_the_remedy(ward: Ward) -> None:
    """
    Its own process follows what runs; stopping that comes first.
    """
    await ward.run(rows=1)

    with Folder(ward.out).lock(), pytest.raises(HeldElsewhere, match="stop it"):
        await ward.cancel()


async def test_the_report_as_json(ward: Ward) -> None:
    """
    Programs get every count.
    """
    ward.core.faults["prediction_stuck"] = 1
    await ward.leave_running(rows=1)

    told = (await ward.cancel()).as_json()

    assert told.pop("seconds")
    assert told == {
        "exit": 0,
        "reason": "nothing runs any more",
        "asked": 1,
        "spared": 0,
        "not_asked": [],
        "predictions": {"cancelled": 1, "finished": 0, "failed": 0, "running": 0, "unknown": 0},
        "images": {"fetched": 0, "left": 0},
        "cost_usd": {"dataset": "0.00", "at_risk": "0.00"},
    }
