"""An unattended run: the notification of its end, and its log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fluxbatch.config.endpoints import Notify
from fluxbatch.engine.notify import with_notifications
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ConfigError, ExitCode, HeldElsewhere
from fluxbatch.events import Event, Events, Noticed
from fluxbatch.ledger.queries.totals import JobCounts
from tests.integration.test_cli_run import write_manifest
from tests.support.commands import KEY, fluxbatch
from tests.support.emulator import QUICK, emulator_process
from tests.unit.cli.statuses import make_totals

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

_PATH = "/hook-with-a-secret-in-it"


@dataclass
class Listener:
    """Somebody who is told things."""

    url: str = ""
    pings: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers; then 200."""

    async def hear(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.messages.append(await request.json())
        else:
            self.pings.append(request.path.removeprefix(_PATH))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@asynccontextmanager
async def listener(*answers: int) -> AsyncIterator[Listener]:
    told = Listener(answers=list(answers))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", told.hear)
    async with TestServer(app) as server:
        told.url = str(server.make_url(_PATH))
        yield told


def summary(code: ExitCode = ExitCode.DONE, reason: str = "every job is done") -> RunSummary:
    totals = make_totals(creates=2, spent=50_000)
    return RunSummary("run-1", code, reason, False, JobCounts({}, 0, 0, 0), totals, totals, 1.5)


async def end_with(notify: Notify, code: ExitCode) -> list[Event]:
    heard: list[Event] = []

    async def work() -> RunSummary:
        return summary(code)

    await with_notifications(notify, "nights", Events(heard.append), work, anywhere=True)
    return heard


@pytest.mark.parametrize(
    ("code", "pings", "outcome"),
    [
        (ExitCode.DONE, ["/start", ""], "done"),
        (ExitCode.STOPPED, ["/start", ""], "stopped"),
        (ExitCode.SOME_FAILED, ["/start", ""], "failed"),
        (ExitCode.NO_KEY, ["/start", "/fail"], "failed"),
        (ExitCode.TERMINATED, ["/start", "/fail"], "stopped"),
    ],
)
async def test_a_healthcheck_is_pinged_and_a_message_says_how_it_ended(
    code: ExitCode, pings: list[str], outcome: str
) -> None:
    """
    The message carries a sentence, and the object that `run --json` ends with.
    """
    async with listener() as told:
        heard = await end_with(Notify(url=told.url, healthcheck=told.url), code)

        assert told.pings == pings
        (message,) = told.messages
        assert message["outcome"] == outcome
        assert message["exit"] == int(code)
        assert message["cost_usd"]["run"] == "0.05"
        assert message["text"].startswith(f"fluxbatch {outcome}: 0 of 0 jobs done")
        assert heard == []


async def test_only_the_ends_that_were_asked_for_are_told() -> None:
    """
    `when: [failed]` keeps quiet about good nights.
    """
    async with listener() as told:
        await end_with(Notify(url=told.url, when=("failed",)), ExitCode.DONE)
        assert told.messages == []

        await end_with(Notify(url=told.url, when=("failed",)), ExitCode.SOME_FAILED)
        assert len(told.messages) == 1


async def test_a_run_that_is_refused_is_told_too() -> None:
    """
    Last night's is still at work: the error goes on as it was.
    """

    async def work() -> RunSummary:
        raise HeldElsewhere("the dataset is in use")

    async with listener() as told:
        notify = Notify(url=told.url, healthcheck=told.url)
        with pytest.raises(HeldElsewhere):
            await with_notifications(notify, "nights", Events(), work, anywhere=True)

        assert told.pings == ["/start", "/fail"]
        assert told.messages[0]["exit"] == 6
        assert "in use" in told.messages[0]["text"]


async def test_a_process_that_is_refused_tells_nothing_of_a_run_that_others_do() -> None:
    """
    One notification a run: it is well, and ends without this process.
    """

    async def work() -> RunSummary:
        raise HeldElsewhere("give all its workers the same caps")

    async with listener() as told:
        notify = Notify(url=told.url, healthcheck=told.url)
        with pytest.raises(HeldElsewhere):
            await with_notifications(
                notify, "nights", Events(), work, anywhere=True, is_shared=True
            )

        assert told.pings == ["/start"]
        assert told.messages == []


async def test_a_listener_that_fails_changes_nothing_but_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Tried three times where that may help; the note does not quote the address.
    """
    monkeypatch.setattr("fluxbatch.engine.notify._PAUSE_S", 0.01)
    async with listener(503, 503, 503) as told:
        heard = await end_with(Notify(url=told.url), ExitCode.DONE)
        assert len(told.messages) == 3
    heard += await end_with(Notify(healthcheck=told.url), ExitCode.DONE)  # nobody listens now

    assert all(isinstance(event, Noticed) for event in heard)
    assert "503" in str(heard[0])
    assert len(heard) == 3
    assert _PATH not in str(heard)


async def test_an_address_in_the_environment_is_found_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A name that is not there is refused with its setting, and nothing was begun.
    """

    async def work() -> RunSummary:
        raise AssertionError("it was begun")

    with pytest.raises(ConfigError, match=r"notify\.url: the environment has no NIGHTLY_HOOK"):
        await with_notifications(Notify(url="env:NIGHTLY_HOOK"), "nights", Events(), work)

    async with listener() as told:
        monkeypatch.setenv("NIGHTLY_HOOK", told.url)
        await end_with(Notify(url="env:NIGHTLY_HOOK"), ExitCode.DONE)
        assert len(told.messages) == 1


async def test_a_nightly_run_leaves_a_log_whose_lines_find_their_rows(tmp_path: Path) -> None:
    """
    JSON, a line each, with run, job and prediction; no key, no address of a listener.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    config = tmp_path / "nightly.yaml"
    config.write_text(
        f"manifest: {manifest.name}\nlog: {{file: logs/run.jsonl, format: json}}\n"
        "notify: {healthcheck: 'http://127.0.0.1:9/secret-ping'}\n"
    )
    with emulator_process(*QUICK) as emulator:
        words = ("run", config, "--out", tmp_path / "d", "--base-url", emulator.base_url, "--json")
        ended = fluxbatch(*words, cwd=tmp_path)

    assert ended.code == 0, ended.err
    text = (tmp_path / "logs" / "run.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["run"] for line in lines if line["event"] != "rows read"} >= {
        ended.object["run_id"]
    }
    stored = [line for line in lines if line["event"] == "output stored"]
    assert len(stored) == 3
    assert all((tmp_path / "d" / line["path"]).is_file() for line in stored)
    moved = [line for line in lines if line["event"] == "prediction moved"]
    assert {line["state"] for line in moved} >= {"submitting", "running", "succeeded"}
    of_one = [*moved, *stored]
    assert all(line["job"] and line["prediction"] and line["attempt"] == 1 for line in of_one)
    ids = {line["provider_id"] for line in stored}
    assert ids == {line["provider_id"] for line in moved if line["state"] != "submitting"}
    assert len(ids) == 3
    assert {line["run"] for line in of_one} == {ended.object["run_id"]}
    everything = text + ended.err + ended.out
    for file in (tmp_path / "d").glob("ledger.sqlite*"):
        everything += file.read_bytes().decode("latin-1")
    assert KEY not in everything
    assert "secret-ping" not in everything


async def test_json_without_a_file_goes_to_stderr_alone(tmp_path: Path) -> None:
    """
    For containers: every line of stderr is an object.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 2)
    with emulator_process(*QUICK) as emulator:
        words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url,
                 "--log-format", "json", "--quiet")  # fmt: skip
        ended = fluxbatch(*words, cwd=tmp_path)

    assert ended.code == 0
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert lines[-1]["event"] == "run ended"


async def test_a_log_that_cannot_be_opened_is_refused_before_anything_is_spent(
    tmp_path: Path,
) -> None:
    """
    Exit 2, the setting and the path named.
    """
    (tmp_path / "logs").write_text("a file")
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    words = ("run", manifest, "--out", tmp_path / "d", "--base-url", "http://127.0.0.1:9/v1",
             "--log-file", tmp_path / "logs" / "x.log")  # fmt: skip
    ended = fluxbatch(*words, cwd=tmp_path)

    assert ended.code == 2
    assert "log.file" in ended.err


def test_a_run_whose_time_is_up_leaves_what_is_stuck_to_the_next(tmp_path: Path) -> None:
    """
    It says until when it waits, ends with exit 4 soon after, and nothing is bought again.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    hurry = {"FLUXBATCH_STOP__GRACE": "1s", "FLUXBATCH_PROVIDER__DEADLINE": "60s"}
    with emulator_process("--duration", "900", "--image-size", "64") as emulator:
        words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url,
                 "--max-duration", "4s")  # fmt: skip
        first = fluxbatch(*words, "--json", env=hurry, timeout=30)
        again = fluxbatch(*words, "--json", env=hurry, timeout=30)

        assert (first.code, again.code) == (4, 4)
        assert "what runs is waited for until" in first.err
        assert "adopted by the next run" in first.err
        assert first.object["seconds"] < 12
        assert emulator.stats()["created"] == 3


def test_a_provider_that_accepts_nothing_is_given_up_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    """
    Endless 429s, and nobody to press Ctrl-C: exit 4, and nothing was spent.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    with emulator_process(*QUICK) as emulator:
        emulator.faults(create_429_rate=1.0)
        ended = fluxbatch("run", manifest, "--out", tmp_path / "d", "--base-url",
                          emulator.base_url, "--give-up", "3s", timeout=60)  # fmt: skip

        assert ended.code == 4
        assert "the provider has accepted nothing for 3 s (provider.give_up)" in ended.err
        assert emulator.stats()["created"] == 0
