"""`reconcile`'s audit: paid there and unknown here, known here and unknown there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode
from fluxbatch.events import Noticed
from tests.maintenance.support import PRICE, Ward
from tests.support.running import KEY, PHOTO_URL

_PHOTO = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos" / "coffee.webp"


async def test_an_orphan_is_a_mismatch_until_it_is_adopted(ward: Ward) -> None:
    """
    The same input was bought once more behind the ledger's back: named, then taken in.
    """
    await ward.run(rows=2)
    orphan = ward.buy_again(ward.bought()[0])

    found = await ward.reconcile()
    assert found.ended()[0] is ExitCode.MISMATCH
    assert [(one.provider_id, one.was_adopted) for one in found.orphans] == [(orphan, False)]
    assert ward.spent() == 2 * PRICE

    adopted = await ward.reconcile(adopt=True)
    assert adopted.ended()[0] is ExitCode.DONE
    assert [one.was_adopted for one in adopted.orphans] == [True]
    assert adopted.fetched == 1

    assert (await ward.reconcile()).orphans == []
    assert ward.spent() == ward.stats["billed_micro_usd"] == 3 * PRICE
    assert ward.jobs(JobState.DONE) == 2
    assert len(ward.bench.images()) == 3
    assert ward.bench.query("SELECT count(*) FROM predictions WHERE adopted = 'by input'") == [(1,)]


async def test_a_ledger_from_a_backup_gets_back_what_was_paid_since(ward: Ward) -> None:
    """
    Its jobs are pending and their images were paid: adopted, no run buys them again.
    """
    await ward.run(rows=3, budget="0.025")
    restore = ward.back_up()
    await ward.run(rows=3)
    restore()

    report = await ward.reconcile(adopt=True)

    assert report.ended()[0] is ExitCode.DONE
    assert [one.was_adopted for one in report.orphans] == [True, True]
    assert await ward.run(rows=3) == ExitCode.DONE
    assert ward.stats["created"] == 3
    assert ward.spent() == ward.stats["billed_micro_usd"] == 3 * PRICE


async def test_an_orphan_that_was_taken_as_never_made_becomes_that_create_again(
    ward: Ward,
) -> None:
    """
    It arrived after two listings had proved it absent: found later, on the run that paid for it.
    """
    ward.core.faults["create_400"] = 1
    await ward.run(rows=1)
    assert ward.states() == ["refused"]
    ward.core.faults["create_400"] = 0
    seed = ward.bench.query("SELECT seed FROM predictions")[0][0]
    ward.core.create(
        KEY,
        {
            "model": "flux-depth-dev",
            "input": {"prompt": "a lighthouse, 0", "control_image": PHOTO_URL, "seed": seed},
        },
    )

    report = await ward.reconcile(adopt=True)

    assert report.ended()[0] is ExitCode.DONE
    assert (ward.states(), ward.states("jobs")) == (["succeeded"], ["done"])
    assert ward.spent() == ward.stats["billed_micro_usd"] == PRICE


async def test_strangers_are_counted_and_none_of_our_business(ward: Ward) -> None:
    """
    The listing is the whole organisation's; a colleague's picture is no orphan of ours.
    """
    ward.core.faults["list_strangers"] = 1
    await ward.run(rows=3)

    report = await ward.reconcile(adopt=True)

    assert report.ended()[0] is ExitCode.DONE
    assert (report.strangers, report.orphans) == (3, [])


async def test_a_failed_execution_that_cost_nothing_is_nobodys_orphan(ward: Ward) -> None:
    """
    There is nothing of it to have and nothing to book.
    """
    await ward.run(rows=1)
    ward.core.faults["prediction_error"] = 1
    ward.buy_again(ward.bought()[0])
    await ward.all_ended()

    assert (await ward.reconcile()).ended()[0] is ExitCode.DONE


async def test_an_orphan_that_failed_and_was_billed_is_booked(ward: Ward) -> None:
    """
    It gave nothing, but the money is gone, and the ledger says so.
    """
    await ward.run(rows=1)
    ward.core.faults.merge({"prediction_error": 1, "bill_errors": 1})
    ward.buy_again(ward.bought()[0])

    report = await ward.reconcile(adopt=True)

    assert report.ended()[0] is ExitCode.DONE
    assert ward.spent() == ward.stats["billed_micro_usd"] == 2 * PRICE
    assert ward.states("jobs") == ["done"]


async def test_an_orphan_of_an_uploaded_photo_is_known_by_its_upload(ward: Ward) -> None:
    """
    The provider tells a URL where the job has a file's hash.
    """
    shutil.copy(_PHOTO, ward.bench.folder / "cup.webp")
    manifest = ward.bench.write([{"prompt": "a cup", "control_image": "cup.webp"}])
    await ward.bench.run(ward.emulator.base_url, manifest)
    orphan = ward.buy_again(ward.bought()[0])

    report = await ward.reconcile()

    assert [one.provider_id for one in report.orphans] == [orphan]


async def test_a_prediction_that_the_provider_no_longer_has_is_missing(ward: Ward) -> None:
    """
    Booked here, unknown there: neither the listing nor its id finds it.
    """
    await ward.run(rows=2)
    ward.bought()[0].lost_from = 0.0

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.MISMATCH
    assert report.missing == [ward.bought()[0].id]
    assert report.missing_cost == PRICE


async def test_a_row_that_the_listing_lacks_for_now_is_not_missing(ward: Ward) -> None:
    """
    Asked for by its id it is there.
    """
    ward.core.faults.merge({"list_late": 1, "list_lag": 6_000})
    await ward.run(rows=2)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.DONE
    assert report.missing == []


async def test_a_prediction_made_with_a_key_that_is_not_here_is_still_found_in_the_listing(
    ward: Ward,
) -> None:
    """
    The listing is the organisation's, so a new key audits what an old one bought.
    """
    await ward.run(rows=2)

    assert (await ward.reconcile(keys=("a-new-key-of-ours",))).ended()[0] is ExitCode.DONE


async def test_what_nobody_may_ask_about_is_neither_missing_nor_in_order(ward: Ward) -> None:
    """
    The listing has not got it, and its own key is not here: exit 5, not 8.
    """
    ward.core.faults.merge({"list_late": 1, "list_lag": 6_000, "isolated": 1})
    await ward.run(rows=2)

    report = await ward.reconcile(keys=("another-account's",))

    assert report.ended()[0] is ExitCode.NO_KEY
    assert (report.unaudited, report.missing) == (2, [])


async def test_a_strangers_equal_input_cannot_be_told_from_an_orphan(ward: Ward) -> None:
    """
    Seed and all are the same, as another dataset of this manifest would send: a mismatch to look
    into, and nothing is adopted by itself.
    """
    ward.core.faults["list_strangers_equal"] = 1
    await ward.run(rows=1)

    report = await ward.reconcile()

    assert report.ended()[0] is ExitCode.MISMATCH
    assert (len(report.orphans), ward.spent()) == (1, PRICE)


async def test_what_is_adopted_is_booked_above_a_cap_and_said(ward: Ward) -> None:
    """
    It is spent already, so a cap cannot refuse it, and no run buys beyond it.
    """
    ward.settings["budget"] = {"per_dataset": "0.03"}
    await ward.run(rows=1)
    ward.buy_again(ward.bought()[0])

    report = await ward.reconcile(adopt=True)

    assert report.ended()[0] is ExitCode.DONE
    assert any("$0.05 of $0.03" in event.message for event in ward.heard
               if isinstance(event, Noticed))  # fmt: skip
    assert await ward.run(rows=2) == ExitCode.STOPPED


async def test_a_listing_of_many_pages_is_read_to_its_end(ward: Ward) -> None:
    """
    The orphan is on the last page, behind strangers without number.
    """
    await ward.run(rows=1)
    orphan = ward.buy_again(ward.bought()[0])
    ward.core.faults["list_strangers"] = 1
    ward.core.executor.limits = ward.no_limits()
    for number in range(220):
        ward.buy_other(f"number {number}")

    report = await ward.reconcile()

    assert [one.provider_id for one in report.orphans] == [orphan]
    assert report.strangers == 2 * 220


@pytest.mark.parametrize("adopt", [False, True])
async def test_reconcile_never_creates(ward: Ward, adopt: bool) -> None:
    """
    Not for pending jobs, not for failed ones, whatever it finds.
    """
    ward.core.faults["prediction_error"] = {"chance": 1, "match": "0"}
    await ward.run(rows=3, budget="0.025")
    ward.core.faults["prediction_error"] = 0
    ward.buy_again(ward.bought()[0])
    calls = ward.stats["create_calls"]

    await ward.reconcile(adopt=adopt)

    assert ward.stats["create_calls"] == calls


async def test_the_orphans_as_json(ward: Ward) -> None:
    """
    Each with its id, its job, its cost, its moment and whether it was adopted.
    """
    await ward.run(rows=1)
    orphan = ward.buy_again(ward.bought()[0])
    await ward.all_ended()

    told = (await ward.reconcile(adopt=True)).as_json()

    ((job,),) = ward.bench.query("SELECT lower(hex(id)) FROM jobs")
    (one,) = cast("list[dict[str, object]]", told["orphans"])
    assert one["created_at"]
    assert {**one, "created_at": ""} == {
        "prediction": orphan,
        "job": job,
        "cost_usd": "0.025",
        "created_at": "",
        "adopted": True,
    }
    assert told["exit"] == 0
