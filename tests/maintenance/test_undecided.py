"""Creates that stay unknown where no input is told: what they may be, and the user's word."""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.maintenance import ByHand
from tests.maintenance.support import PRICE, Ward

_LOST = {"chance": 1, "match": "lighthouse, 1"}


async def _lose_one(ward: Ward) -> None:
    """Three jobs, of which one's create was accepted and never answered."""
    ward.core.faults["create_reset_after"] = _LOST
    assert await ward.run(rows=3) == ExitCode.UNKNOWN_LEFT
    ward.core.faults["create_reset_after"] = 0


async def test_a_create_that_stays_unknown_is_shown_with_the_executions_it_may_be(
    card_ward: Ward,
) -> None:
    """
    When it was sent, and of each execution when it was made, what it cost and its image.
    """
    await _lose_one(card_ward)

    report = await card_ward.reconcile()

    assert report.ended()[0] is ExitCode.UNKNOWN_LEFT
    ((choice,),) = [one.choices for one in report.undecided]
    lost = next(one for one in card_ward.core.executor.history if "1" in one.prompt)
    assert (choice.provider_id, choice.cost, choice.status) == (lost.id, PRICE, "success")
    assert lost.id in choice.image
    assert "?" not in choice.image
    assert report.strangers == 0


async def test_the_user_says_which_execution_a_create_is(card_ward: Ward) -> None:
    """
    Its image is fetched and its cost booked; nothing is bought.
    """
    await _lose_one(card_ward)
    (one,) = (await card_ward.reconcile()).undecided

    by_hand = ByHand({one.job[:8]: one.choices[0].provider_id})
    report = await card_ward.reconcile(by_hand=by_hand)

    assert report.ended()[0] is ExitCode.DONE
    assert card_ward.jobs(JobState.DONE) == card_ward.stats["created"] == 3
    assert card_ward.spent() == card_ward.stats["billed_micro_usd"]
    adopted = card_ward.bench.query("SELECT adopted FROM predictions WHERE adopted IS NOT NULL")
    assert adopted == [("by hand",)]


async def test_what_the_user_disowns_forbids_nothing(card_ward: Ward) -> None:
    """
    The create counts as absent then, and its job may be bought again.
    """
    card_ward.settings["reconcile"] = {"patience": 20}
    await _lose_one(card_ward)
    (one,) = (await card_ward.reconcile()).undecided

    report = await card_ward.reconcile(by_hand=ByHand(not_ours=[one.choices[0].provider_id]))

    assert (report.absent, report.unknown) == (1, 0)
    assert card_ward.states("jobs").count("pending") == 1


@pytest.mark.parametrize("job", ["ffffffff", ""])
async def test_a_word_that_fits_no_create_changes_nothing(card_ward: Ward, job: str) -> None:
    """
    A job whose create is known, or none at all: exit 2, and said which.
    """
    await _lose_one(card_ward)
    (one,) = (await card_ward.reconcile()).undecided
    wrong = {job: one.choices[0].provider_id} if job else {one.job: "no-such-execution"}

    with pytest.raises(ConfigError, match="no job" if job else "knows no execution"):
        await card_ward.reconcile(by_hand=ByHand(wrong))

    assert card_ward.states().count("unknown") == 1


async def test_whatever_could_be_it_failed_so_it_may_be_bought_again(card_ward: Ward) -> None:
    """
    Nothing is alive and nothing succeeded; what it cost is booked on failures.
    """
    failing = {"chance": 1, "times": 1, "match": "lighthouse, 1"}
    card_ward.core.faults.merge(
        {"create_reset_after": failing, "prediction_error": failing, "bill_errors": 1}
    )

    assert await card_ward.run(rows=3) == ExitCode.DONE

    assert card_ward.stats["created"] == card_ward.stats["billed"] == 4
    assert card_ward.stats["double_billed"] == 0
    assert card_ward.spent() == 4 * PRICE
