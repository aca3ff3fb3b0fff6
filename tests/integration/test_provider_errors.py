"""The error table of the contract, row by row, as a run meets it.

Source: docs/design/provider-api.md "Errors".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode
from fluxbatch.events import Noticed
from tests.support.running import KEY, Bench, make_rows, provider


def _failures(bench: Bench) -> dict[str, int]:
    return dict(bench.query("SELECT failure, COUNT(*) FROM failures GROUP BY failure"))


@pytest.mark.parametrize(("dialect", "found"), [("docs", "by input"), ("card", "by time")])
async def test_a_create_without_an_answer_is_found_and_never_sent_again(
    tmp_path: Path, dialect: str, found: str
) -> None:
    """
    The connection dies after the provider accepted; the run finds it in the listing, by its input
    where that is told, else by its time.
    """
    bench = Bench(tmp_path, settings={"reconcile": {"sole_user": True}})
    async with provider(dialect=dialect) as emulator:
        emulator.core.faults["create_reset_after"] = 0.5
        summary = await bench.run(emulator.base_url, bench.write(make_rows(12)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == emulator.stats["billed"] == 12
        assert emulator.stats["double_billed"] == 0
    adopted = bench.query("SELECT DISTINCT adopted FROM predictions WHERE adopted IS NOT NULL")
    assert adopted == [(found,)]
    told = [json.loads(path.read_text()) for path in (bench.out / "images").rglob("*.json")]
    assert {facts["adopted"] for facts in told if "adopted" in facts} == {found}


async def test_where_others_may_create_too_a_lost_create_is_nobodys_without_its_input(
    tmp_path: Path,
) -> None:
    """
    It may be a colleague's: nothing is bought again, its money stays reserved, exit 7.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults["create_reset_after"] = {"chance": 1, "match": "lighthouse, 3"}
        summary = await bench.run(emulator.base_url, bench.write(make_rows(6)))

        assert summary.exit_code is ExitCode.UNKNOWN_LEFT
        assert summary.jobs.unknown == 1
        assert summary.dataset.reserved == 25_000
        assert emulator.stats["created"] == emulator.stats["billed"] == 6
    ends = bench.query("SELECT state, at_risk, provider_id FROM predictions WHERE at_risk")
    assert ends == [("unknown", 1, None)]


async def test_a_create_that_never_arrived_is_sent_again_only_when_two_listings_lack_it(
    tmp_path: Path,
) -> None:
    """
    To us it looks the same as one that was accepted; time and the listing tell them apart.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({"create_reset_before": {"chance": 1, "times": 2}})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(4)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == 4
        assert emulator.stats["lists"] >= 2
    absent = bench.query("SELECT COUNT(*) FROM predictions WHERE state = 'absent'")
    assert absent == [(2,)]


async def test_unknown_creates_that_cannot_be_looked_for_are_held_with_their_money(
    tmp_path: Path,
) -> None:
    """
    The listing is down: the job is not bought again, the money stays reserved, exit 7.
    """
    bench = Bench(tmp_path, settings={"reconcile": {"patience": 0.5}})
    async with provider(dialect="docs") as emulator:
        emulator.core.faults.merge({"create_500_after": {"chance": 1, "times": 1}, "list_500": 1.0})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(3)))

        assert summary.exit_code is ExitCode.UNKNOWN_LEFT
        assert summary.jobs.unknown == 1
        assert summary.dataset.reserved == 25_000
        assert emulator.stats["created"] == 3

        emulator.core.faults["list_500"] = 0
        after = await bench.run(emulator.base_url, bench.write(make_rows(3)))
        assert after.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == 3


async def test_a_provider_without_a_listing_is_said_at_the_start_and_holds_what_is_lost(
    tmp_path: Path,
) -> None:
    """
    Nothing can be looked for: the money is held, nothing is bought again, and the run ends.
    """
    bench = Bench(tmp_path, settings={"reconcile": {"sole_user": True}})
    async with provider(has_listing=False) as emulator:
        emulator.core.faults["create_reset_after"] = {"chance": 1, "match": "lighthouse, 1"}
        summary = await bench.run(emulator.base_url, bench.write(make_rows(4)))

        assert summary.exit_code is ExitCode.UNKNOWN_LEFT
        assert (summary.jobs.unknown, summary.dataset.reserved) == (1, 25_000)
        assert emulator.stats["created"] == 4
    said = [event.message for event in bench.heard if isinstance(event, Noticed)]
    assert "no listing" in said[0]
    assert "webhook.public_url" in said[0]


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("create_400", "invalid_input"),
        ("prediction_filtered", "filtered"),
        ("prediction_no_output", "no_output"),
        ("prediction_error", "provider_error"),
        ("prediction_timeout", "timeout"),
    ],
)
async def test_a_job_that_cannot_be_made_fails_with_the_providers_words(
    tmp_path: Path, fault: str, failure: str
) -> None:
    """
    One poison row ends with its class and reason; the others are done.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({fault: {"chance": 1, "match": "lighthouse, 1"}})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(6)))

    assert summary.exit_code is ExitCode.SOME_FAILED
    assert summary.jobs.of(JobState.DONE) == 5
    assert _failures(bench) == {failure: 1}
    ((reason,),) = bench.query("SELECT reason FROM failures")
    assert reason


async def test_fewer_images_than_asked_for_are_kept_and_the_job_fails(tmp_path: Path) -> None:
    """
    What was paid is stored; the shortfall has a name.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults["prediction_short_output"] = 1.0
        summary = await bench.run(emulator.base_url, bench.write(make_rows(1, num_outputs=4)))

    assert summary.exit_code is ExitCode.SOME_FAILED
    assert _failures(bench) == {"short_output": 1}
    assert 0 < len(bench.images()) < 4


@pytest.mark.parametrize(
    "fault",
    ["download_truncated", "download_html_200", "download_zero", "download_403_expired"],
)
async def test_a_broken_download_is_fetched_again_from_a_fresh_url(
    tmp_path: Path, fault: str
) -> None:
    """
    It costs nothing and no attempt of the job.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({fault: {"chance": 1, "times": 3}})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(3)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["billed"] == 3


async def test_a_key_revoked_mid_run_is_out_and_the_other_finishes(tmp_path: Path) -> None:
    """
    Its running predictions are not forgotten: the other key of the organisation asks for them.
    """
    bench = Bench(tmp_path, keys=(KEY, KEY + "-2"))
    async with provider() as emulator:
        emulator.core.faults["create_401"] = {"chance": 1, "times": 1}
        summary = await bench.run(emulator.base_url, bench.write(make_rows(30)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["billed"] == 30


async def test_without_a_usable_key_the_jobs_stay_pending(tmp_path: Path) -> None:
    """
    Exit 5 names the key by its label; nothing failed, so another key goes on.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.gate.revoked.add(KEY)
        summary = await bench.run(emulator.base_url, bench.write(make_rows(5)))

        assert summary.exit_code is ExitCode.NO_KEY
        assert "key-0" in summary.reason
        assert summary.jobs.of(JobState.PENDING) == 5


async def test_a_balance_that_runs_out_waits_for_what_runs_and_then_ends(tmp_path: Path) -> None:
    """
    402 costs no attempt; with nothing left running the key is out.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults["create_402"] = 1.0
        summary = await bench.run(emulator.base_url, bench.write(make_rows(5)))

        assert summary.exit_code is ExitCode.NO_KEY
        assert summary.jobs.of(JobState.PENDING) == 5
        assert emulator.stats["created"] == 0


async def test_a_redirected_api_stops_the_run(tmp_path: Path) -> None:
    """
    A redirect is never followed with the key in hand; every create would fail alike.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults["create_redirect"] = 1.0
        summary = await bench.run(emulator.base_url, bench.write(make_rows(5)))

        assert summary.exit_code is ExitCode.ERROR
        assert summary.jobs.of(JobState.PENDING) == 5


async def test_mass_identical_failures_stop_the_run_with_their_reason(tmp_path: Path) -> None:
    """
    The circuit breaker: twenty alike in a row, and no more is bought.
    """
    bench = Bench(tmp_path)
    async with provider(duration_s=1.0) as emulator:
        emulator.core.faults.merge({"prediction_error": 1.0, "bill_errors": 1})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(200)))

        assert summary.exit_code is ExitCode.STOPPED
        assert "in a row failed alike" in summary.reason
        assert emulator.stats["created"] <= 45


async def test_a_cost_above_its_reservation_stops_buying_and_is_reserved_next_time(
    tmp_path: Path,
) -> None:
    """
    Caps were checked with the old price; the next invocation checks with the highest seen.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({"cost_higher": {"chance": 1, "times": 1}})
        manifest = bench.write(make_rows(40))
        summary = await bench.run(emulator.base_url, manifest)

        assert summary.exit_code is ExitCode.STOPPED
        assert "more than the $0.025 reserved" in summary.reason
        assert summary.run.spent == emulator.stats["billed_micro_usd"]

        again = await bench.run(emulator.base_url, manifest, budget="0.05")
        highest = bench.query("SELECT MAX(cost) FROM predictions")[0][0]
        assert again.run.spent <= 50_000
        assert bench.query("SELECT MAX(price) FROM predictions") == [(25_000,)]
        assert highest > 25_000


async def test_both_dialects_of_the_provider_are_understood(tmp_path: Path) -> None:
    """
    Other words, other shapes, another auth header and path; the same images and books.
    """
    settings: dict[str, Any] = {"provider": {"dialect": "docs", "auth": "bearer"}}
    bench = Bench(tmp_path, settings=settings)
    async with provider(dialect="docs") as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(14)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.run.spent == emulator.stats["billed_micro_usd"]


async def test_a_provider_that_is_not_there_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """
    Nothing was sent, so nothing is lost: the jobs stay pending.
    """
    bench = Bench(tmp_path, settings={"provider": {"deadline": 0.4}})
    summary = await bench.run("http://127.0.0.1:9/v1", bench.write(make_rows(2)))

    assert summary.exit_code is ExitCode.ERROR
    assert "cannot be reached" in summary.reason
    assert any(isinstance(event, Noticed) for event in bench.heard)
    assert summary.jobs.of(JobState.PENDING) == 2
