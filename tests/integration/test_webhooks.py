"""Runs with webhooks: which senders are accepted, and the fallback when none come."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from fluxbatch.domain.job import JobState, PredictionState
from fluxbatch.engine.webhook_service import public_address, webhook_key
from fluxbatch.errors import ExitCode, SinkError
from fluxbatch.events import Noticed, PredictionMoved
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import WebhookAddress, WebhookAttempt, WebhookReceiver, WebhookUrls
from fluxbatch.provider.webhook_listener import listening
from tests.support.running import Bench, make_rows, provider

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

LOOPBACK = {"public_url": "http://127.0.0.1:0", "listen": "127.0.0.1:0"}


def _bench(folder: Path, *, dialect: str = "card", **webhook: object) -> Bench:
    auth = "bearer" if dialect == "docs" else "x-api-key"
    return Bench(
        folder,
        settings={
            "webhook": {**LOOPBACK, **webhook},
            "provider": {"dialect": dialect, "auth": auth},
        },
    )


async def _until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  the other side is a server, which tells nobody
            await anyio.sleep(0.01)


def _notices(bench: Bench) -> list[str]:
    return [event.message for event in bench.heard if isinstance(event, Noticed)]


def _polls(bench: Bench) -> int:
    return int(bench.query("SELECT sum(polls) FROM predictions")[0][0])


def _addresses(bench: Bench, public_url: str = "") -> list[WebhookAddress]:
    """Of every prediction in the ledger, as whoever has the dataset's key can derive them."""
    names = WebhookUrls((bench.out / ".webhook-key").read_bytes(), public_url)
    rows = bench.query("SELECT seq, intended_at FROM predictions")
    return [
        names.address(WebhookAttempt.of(seq, Timestamp(datetime.fromisoformat(at), "", 0.0)))
        for seq, at in rows
    ]


@pytest.mark.parametrize("dialect", ["card", "docs"])
async def test_every_end_is_told_and_one_is_asked_for_its_cost(
    tmp_path: Path, dialect: str
) -> None:
    """
    40 jobs, no polls but one: the first success of its kind is read, for webhooks tell no cost.
    """
    bench = Bench(
        tmp_path,
        settings={
            "webhook": LOOPBACK,
            "provider": {
                "dialect": dialect,
                "auth": "bearer" if dialect == "docs" else "x-api-key",
            },
        },
    )
    async with provider(dialect=dialect) as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(40)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.run.spent == emulator.stats["billed_micro_usd"] == 40 * 25_000
        assert emulator.stats["gets"] == _polls(bench) == 1
        assert emulator.stats["webhooks_delivered"] == 40
    assert len(bench.images()) == 40
    assert _notices(bench) == []


async def test_a_run_without_a_public_url_names_no_webhook(tmp_path: Path) -> None:
    """
    Nothing changes for it, and no key is made.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(make_rows(3)))

        assert all(one.webhook_url is None for one in emulator.core.executor.history)
        assert emulator.stats["gets"] >= 3
    assert not (bench.out / ".webhook-key").exists()


@pytest.mark.parametrize(
    "faults",
    [
        {"webhook_lost": 0.3},
        {"webhook_lost": 1},
        {"webhook_repeat": 1},
        {"webhook_late": 0.5},
        {"webhook_early": 0.5},
        {"webhook_lost": 0.2, "webhook_repeat": 0.3, "webhook_late": 0.3, "webhook_early": 0.3},
        {"webhook_early": 1, "create_timeout_after": 0.3, "create_reset_after": 0.3},
        {"get_500": 0.3, "get_reset": 0.3, "webhook_lost": 0.2},
    ],
    ids=str,
)
async def test_whatever_the_post_does_every_job_is_done_and_paid_once(
    tmp_path: Path, faults: dict[str, float]
) -> None:
    """
    Lost, repeated, late, early, and creates that fail on top of it.
    """
    bench = _bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge(faults)
        summary = await bench.run(emulator.base_url, bench.write(make_rows(30)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == emulator.stats["billed"] == 30
        assert summary.run.spent == emulator.stats["billed_micro_usd"]
    assert len(bench.images()) == 30


async def test_webhooks_that_never_come_are_said_once_and_not_waited_for(tmp_path: Path) -> None:
    """
    Of 40 predictions the first few wait for theirs; then ends are asked for as without any.
    """
    bench = _bench(tmp_path)
    async with provider(duration_s=10.0) as emulator:
        emulator.core.faults["webhook_lost"] = 1
        summary = await bench.run(emulator.base_url, bench.write(make_rows(40)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.seconds < 12
    assert _notices(bench) == ["webhooks do not come; ends are found by asking for them"]


async def test_a_webhook_before_its_creates_answer_proves_the_create(tmp_path: Path) -> None:
    """
    It runs under the id that was told, and may be cancelled like any other of ours.
    """
    bench = _bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({"webhook_early": 1, "early_seconds": 20})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(10)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.seconds < 1.5  # nobody waited for the answers, a second late each
        assert emulator.stats["gets"] == 1
    told = bench.query("SELECT adopted, count(*), count(provider_id) FROM predictions GROUP BY 1")
    assert told == [("by webhook", 10, 10)]


async def test_an_unknown_create_is_found_by_its_webhook_where_no_listing_helps(
    tmp_path: Path,
) -> None:
    """
    Its answer was lost and the provider's history cannot be read; its own address proves it ours.
    """
    bench = _bench(tmp_path)
    async with provider(duration_s=10.0) as emulator:
        emulator.core.faults.merge({"create_reset_after": 1, "list_500": 1})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(10)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == emulator.stats["billed"] == 10
    assert bench.query("SELECT DISTINCT adopted FROM predictions") == [("by webhook",)]


@pytest.mark.parametrize("dialect", ["card", "docs"])
@pytest.mark.parametrize(
    ("fault", "failure"),
    [("prediction_filtered", "filtered"), ("prediction_error", "provider_error"),
     ("prediction_no_output", "no_output"), ("prediction_timeout", "timeout")],
)  # fmt: skip
async def test_a_failure_that_was_told_is_asked_for_its_class_and_cost(
    tmp_path: Path, dialect: str, fault: str, failure: str
) -> None:
    """
    A webhook has neither code nor cost, and both decide about money: nothing is estimated.
    """
    bench = Bench(
        tmp_path,
        settings={
            "webhook": LOOPBACK,
            "provider": {
                "dialect": dialect,
                "auth": "bearer" if dialect == "docs" else "x-api-key",
            },
        },
    )
    async with provider(dialect=dialect) as emulator:
        emulator.core.faults[fault] = {"times": 1}
        await bench.run(emulator.base_url, bench.write(make_rows(4)))

        assert emulator.stats["gets"] <= 3
    failed = bench.query("SELECT failure, estimated FROM predictions WHERE state = 'errored'")
    assert failed == [(failure, 0)]


async def test_a_price_that_is_wrong_is_noticed_by_the_first_success(tmp_path: Path) -> None:
    """
    Else every cap would be, as no webhook tells a cost.
    """
    bench = _bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults["cost_higher"] = 1
        summary = await bench.run(emulator.base_url, bench.write(make_rows(40)), budget="0.5")

        assert summary.exit_code is ExitCode.STOPPED
        assert "more than the" in summary.reason
        assert emulator.stats["created"] < 25


@pytest.mark.parametrize("fault", ["get_500", "get_404", "get_unknown_word"])
async def test_a_success_that_was_told_stands_though_nothing_can_be_read(
    tmp_path: Path, fault: str
) -> None:
    """
    Not even for its cost; the price at purchase is what it settles at.
    """
    bench = _bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults[fault] = 1
        summary = await bench.run(emulator.base_url, bench.write(make_rows(12)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.seconds < 4
    assert bench.query("SELECT DISTINCT cost, estimated FROM predictions") == [(25_000, 0)]


async def test_running_predictions_of_an_earlier_process_are_told_of_too(tmp_path: Path) -> None:
    """
    Their addresses are derived anew from what the ledger has; the listener is where it was.
    """
    async with _free_port() as port:
        bench = _bench(tmp_path, public_url=f"http://127.0.0.1:{port}", listen=f"127.0.0.1:{port}")
        manifest = bench.write(make_rows(8))
        async with provider(duration_s=40.0) as emulator:
            async with anyio.create_task_group() as earlier:
                earlier.start_soon(bench.run, emulator.base_url, manifest)
                await _until(lambda: _running(bench) == 8)
                earlier.cancel_scope.cancel()
            bench.heard.clear()
            summary = await bench.run(emulator.base_url, manifest)

            assert summary.exit_code is ExitCode.DONE
            assert emulator.stats["created"] == 8
            assert emulator.stats["webhooks_delivered"] == 8
            # One look each when they were adopted: they might have ended in between.
            assert emulator.stats["gets"] <= 8 + 8


def _running(bench: Bench) -> int:
    return sum(
        isinstance(event, PredictionMoved) and event.state is PredictionState.RUNNING
        for event in bench.heard
    )


@asynccontextmanager
async def _free_port() -> AsyncIterator[int]:
    async with listening(
        WebhookReceiver(WebhookUrls(b"k" * 32), lambda *_: None), "127.0.0.1", 0
    ) as port:
        pass
    yield port


async def test_a_flood_at_the_right_door_makes_us_ask_a_few_times_and_no_more(
    tmp_path: Path,
) -> None:
    """
    Verified nonsense without end, while the prediction runs: six polls, and its own end as ever.
    """
    async with _free_port() as port, anyio.create_task_group() as group:
        url = f"http://127.0.0.1:{port}"
        bench = _bench(tmp_path, public_url=url, listen=f"127.0.0.1:{port}")
        async with provider(duration_s=120.0) as emulator, aiohttp.ClientSession() as session:
            group.start_soon(bench.run, emulator.base_url, bench.write(make_rows(1)))
            await _until(lambda: _running(bench) == 1)
            (address,) = _addresses(bench, url)
            bodies: list[dict[str, Any] | str] = [
                {"exec_id": "another", "status": "succeeded", "output": "https://o.example/1"},
                {"exec_id": emulator.core.executor.history[0].id, "status": "warming"},
                "garbage",
            ]
            answers = set()
            for number in range(150):
                async with session.post(
                    address.url,
                    data=json.dumps(bodies[number % 3]),
                    headers={"X-Webhook-Secret": address.secret},
                ) as answer:
                    answers.add(answer.status)
            flooded = emulator.stats["gets"]
            await _until(lambda: bool(bench.images()))
            total = emulator.stats["gets"]

    assert answers == {200}
    assert 1 <= flooded <= 6
    assert total <= 8


async def test_a_create_that_comes_after_it_counted_as_absent_is_known_by_its_webhook(
    tmp_path: Path,
) -> None:
    """
    Later than any bound, and bought again by then. What both cost is in the books of both sides.
    """
    bench = _bench(tmp_path)
    bench.settings = {**bench.settings, "limits": {"concurrent": 2}}
    async with provider(duration_s=20.0) as emulator:
        emulator.core.faults.merge({"create_late": {"times": 1}, "late_seconds": 110})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(16)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == emulator.stats["billed"] == 17
        assert summary.run.spent == emulator.stats["billed_micro_usd"]
    assert "counted as absent was made after all" in " ".join(_notices(bench))
    found = bench.query("SELECT adopted, state FROM predictions WHERE adopted IS NOT NULL")
    assert found == [("by webhook", "succeeded")]


async def test_no_address_and_no_word_of_it_is_kept_anywhere_but_in_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Ledger, images, journals, events and logs hold nothing that opens a webhook's door.
    """
    caplog.set_level(logging.DEBUG)
    bench = _bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({"create_reset_after": 0.3, "webhook_early": 0.3})
        await bench.run(emulator.base_url, bench.write(make_rows(20)))
        sent = [one for one in emulator.core.executor.history if one.webhook_url]

    key = (bench.out / ".webhook-key").read_bytes()
    addresses = _addresses(bench)
    secrets = {part for one in addresses for part in (one.secret, one.url.rsplit("/", 1)[1])}
    assert len(sent) >= 20
    assert {one.webhook_secret for one in sent} <= secrets
    said = repr(bench.heard) + caplog.text
    files = _files(tmp_path)
    assert len(files) > 20
    for content in (said.encode(), *(path.read_bytes() for path in files)):
        assert key not in content
        assert not any(secret.encode() in content for secret in secrets)
    assert stat.S_IMODE((bench.out / ".webhook-key").stat().st_mode) == 0o600


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.name != ".webhook-key"]


async def test_a_public_address_that_nobody_answers_at_is_said_at_the_start(
    tmp_path: Path,
) -> None:
    """
    Creates do not wait for that, and every end is found all the same.
    """
    async with _free_port() as nobody:
        bench = _bench(tmp_path, public_url=f"http://127.0.0.1:{nobody}/hooks")
        async with provider() as emulator:
            summary = await bench.run(emulator.base_url, bench.write(make_rows(12)))

    assert summary.jobs.of(JobState.DONE) == 12
    said = " ".join(_notices(bench))
    assert f"127.0.0.1:{nobody}/hooks does not lead to this run's listener" in said
    assert "it cannot be reached" in said


async def test_a_public_address_where_another_answers_is_told_apart_from_ours(
    tmp_path: Path,
) -> None:
    """
    A proxy that leads somewhere else answers too; only we know the word.
    """
    async with provider() as emulator:
        bench = _bench(tmp_path, public_url=emulator.base_url.removesuffix("/v1"))
        summary = await bench.run(emulator.base_url, bench.write(make_rows(2)))

    assert summary.seconds < 4  # nothing was waited for that would not come
    assert "another one answers there" in " ".join(_notices(bench))


async def test_a_port_that_is_taken_is_said_and_the_run_asks_instead(tmp_path: Path) -> None:
    """
    A second run on the machine, say: nothing is named that nobody would hear.
    """
    taken = WebhookReceiver(WebhookUrls(b"k" * 32), lambda *_: None)
    async with listening(taken, "127.0.0.1", 0) as port, provider() as emulator:
        bench = _bench(tmp_path, listen=f"127.0.0.1:{port}")
        summary = await bench.run(emulator.base_url, bench.write(make_rows(3)))

        assert summary.exit_code is ExitCode.DONE
        assert all(one.webhook_url is None for one in emulator.core.executor.history)
    (said,) = _notices(bench)
    assert f"nobody can listen at webhook.listen '127.0.0.1:{port}'" in said


def test_a_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """
    Half a key, as a crash leaves it, is no key; one that others could read is closed to them.
    """
    path = tmp_path / ".webhook-key"
    key = webhook_key(path)
    path.chmod(0o644)

    assert webhook_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(key[:5])
    path.with_name(".webhook-key.part").write_bytes(b"half")
    assert webhook_key(path) != key
    assert webhook_key(path) == path.read_bytes()
    with pytest.raises(SinkError, match="cannot keep a key"):
        webhook_key(tmp_path / "no" / "folder")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:0", "http://127.0.0.1:8000"),
        ("http://[::1]:0/a", "http://[::1]:8000/a"),
        ("https://hooks.example.org/a", "https://hooks.example.org/a"),
        ("https://hooks.example.org:443", "https://hooks.example.org:443"),
    ],
)
def test_port_0_of_a_public_address_is_the_listeners_own(url: str, address: str) -> None:
    """
    For tests, where the system chooses it.
    """
    assert public_address(url, 8000) == address
