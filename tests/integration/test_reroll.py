"""`fluxbatch reroll` as a process, judged by the books of an emulator that is one too."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fluxbatch import Dataset
from fluxbatch.emulator.models import MODELS, Model
from fluxbatch.errors import ConfigError, ExitCode
from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import KEY, Ended, fluxbatch, started
from tests.support.emulator import EmulatorProcess
from tests.support.running import Bench
from tests.support.running import provider as provider_in_process

pytestmark = pytest.mark.proof

JOBS = 20
PRICE = 25_000


@pytest.fixture
def rejected(emulator: EmulatorProcess, tmp_path: Path) -> Path:
    """A dataset of twenty images, all of them rejected."""
    assert run(emulator, write_manifest(tmp_path / "m.jsonl", JOBS)).code == 0
    told = fluxbatch("rate", tmp_path / "d", "--where", "prompt", "reject", "--json")
    assert told.object["images"] == JOBS
    return tmp_path / "d"


def reroll(dataset: Path, *more: object) -> Ended:
    return fluxbatch("reroll", dataset, "--where", "rating=reject", "--json", *more)


def query(dataset: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(dataset / "ledger.sqlite")) as ledger:
        return ledger.execute(sql).fetchall()


def exported(dataset: Path, where: str) -> list[dict[str, Any]]:
    to = dataset.parent / "rows.jsonl"
    assert fluxbatch("export", dataset, "-f", "jsonl", "--to", to, "--where", where).code == 0
    return [json.loads(line) for line in to.read_text().splitlines()]


def images(dataset: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (dataset / "images").glob("*.webp")}


def test_twenty_rejected_images_are_made_anew_within_a_budget(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    Twenty more executions, each with another seed, for exactly their price; every image that was
    there stays as it was. The same command again buys nothing.
    """
    before = images(rejected)
    told = reroll(rejected, "--budget", "1")
    again = reroll(rejected, "--budget", "1")

    assert (told.code, again.code) == (0, 0)
    assert "20 jobs to make anew" in told.err
    assert "price: up to $0.50, $0.025 each" in told.err
    assert told.object["cost_usd"]["run"] == "0.50"
    assert told.object["reroll"]["picked"] == JOBS
    assert again.object["reroll"] == {
        "picked": 0, "waiting": 0, "withdrawn": 0, "remade": JOBS, "without_image": 0
    }  # fmt: skip
    stats = emulator.stats()
    assert (stats["created"], stats["billed"]) == (2 * JOBS, 2 * JOBS)
    assert stats["billed_micro_usd"] == 2 * JOBS * PRICE
    assert stats["double_billed"] == stats["double_created"] == 0
    sent = [made["input"] for made in emulator.predictions()]
    assert len({one["seed"] for one in sent}) == 2 * JOBS
    assert {one["prompt"] for one in sent[JOBS:]} == {one["prompt"] for one in sent[:JOBS]}
    after = images(rejected)
    assert len(after) == 2 * JOBS
    assert before.items() <= after.items()


def test_a_reroll_is_its_row_once_more_wherever_rows_are_shown(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    `ls`, exports with their keys and splits, `why`, the sidecar; one that is kept is exported.
    """
    assert reroll(rejected, "--yes").code == 0
    rows = exported(rejected, "reroll=1 and not rating")
    (third,) = [row for row in rows if row["id"] == "r2"]

    assert len(rows) == JOBS
    assert third["key"] == "r2-r1_0"
    assert (third["row"], third["prompt"]) == (3, "a lighthouse, 2")
    assert third["reroll_of"] != third["job_id"]
    listed = fluxbatch("ls", rejected, "--where", "id=r2").out.splitlines()
    assert [line.split("done")[0].split() for line in listed[1:]] == [
        ["#3", "r2"], ["#3", "r2", "reroll", "1"]
    ]  # fmt: skip
    why = fluxbatch("why", rejected, third["job_id"])
    assert f"1 of job {third['reroll_of']}" in why.out
    assert "#3 'r2' (line 3 of m.jsonl)" in why.out
    facts = json.loads((rejected / third["file_name"]).with_suffix(".json").read_text())
    assert (facts["reroll"], facts["reroll_of"]) == (1, third["reroll_of"])
    assert facts["row"]["number"] == 3
    fluxbatch("rate", rejected, third["job_id"], "keep")
    assert [row["key"] for row in exported(rejected, "rating=keep")] == ["r2-r1_0"]
    assert fluxbatch("report", rejected, "--json").object["images"] == 2 * JOBS


def test_a_rejected_reroll_is_made_anew_and_a_kept_one_is_not(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    The newest image of a row decides.
    """
    assert reroll(rejected, "--yes").code == 0
    fluxbatch("rate", rejected, "--where", "reroll=1 and number<=5", "reject")
    fluxbatch("rate", rejected, "--where", "reroll=1 and number>5", "keep")

    told = reroll(rejected, "--yes")

    assert (told.object["reroll"]["picked"], told.object["reroll"]["remade"]) == (5, 15)
    assert emulator.stats()["created"] == 2 * JOBS + 5
    assert sorted(row["key"] for row in exported(rejected, "reroll=2")) == [
        f"r{n}-r2_0" for n in range(5)
    ]


def test_a_budget_that_is_too_small_buys_as_many_as_fit(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    Exit 4 as for a run; the same command again makes what waits first, under a cap of its own.
    """
    first = reroll(rejected, "--budget", "0.30")
    status = fluxbatch("status", rejected)
    second = reroll(rejected, "--budget", "0.30")

    assert (first.code, second.code) == (4, 0)
    assert first.object["cost_usd"]["run"] == "0.30"
    assert "12 done, 8 waiting for `reroll`" in status.out
    assert "12 of 20 jobs done" in first.err
    assert "8 of them were left by an earlier command" in second.err
    assert second.object["reroll"]["picked"] == 8
    assert emulator.stats()["billed_micro_usd"] == 2 * JOBS * PRICE


def test_a_run_of_the_manifest_makes_no_reroll_and_keeps_them_all(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    Nor does one of a changed manifest: rerolls belong to their row's job.
    """
    assert reroll(rejected, "--budget", "0.30").code == 4
    manifest = rejected.parent / "m.jsonl"
    again = run(emulator, manifest)
    longer = run(emulator, write_manifest(manifest, JOBS + 2))

    assert (again.code, longer.code) == (0, 0)
    assert (again.object["cost_usd"]["run"], longer.object["jobs"]["total"]) == ("0.00", JOBS + 2)
    assert emulator.stats()["created"] == JOBS + 12 + 2
    assert len(exported(rejected, "reroll=1")) == 12
    assert reroll(rejected, "--yes").object["reroll"]["waiting"] == 8
    assert emulator.stats()["created"] == 2 * JOBS + 2


def test_nothing_is_bought_that_the_command_does_not_choose(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    What a command with too small a budget has left serves the same one again, and no other one.
    """
    assert reroll(rejected, "--budget", "0.30").code == 4
    (one, other) = [row["id"] for row in exported(rejected, "reroll=0")[-2:]]
    where = ("--where", f"rating=reject and id={one}")
    chosen = fluxbatch("reroll", rejected, *where, "--budget", "1", "--json")

    assert chosen.code == 0, chosen.err
    assert chosen.object["reroll"] == {
        "picked": 1, "waiting": 1, "withdrawn": 7, "remade": 0, "without_image": 0
    }  # fmt: skip
    assert emulator.stats()["created"] == JOBS + 12 + 1
    made = [row["id"] for row in exported(rejected, "reroll=1")]
    assert (made.count(one), made.count(other), len(made)) == (1, 0, 13)
    assert reroll(rejected, "--yes").object["reroll"]["picked"] == 7
    assert emulator.stats()["created"] == 2 * JOBS


def test_a_number_mistyped_costs_neither_time_nor_room(rejected: Path) -> None:
    """
    No more is written down than the budget pays for, and some that it does not.
    """
    mistyped = ("--until", "1000000", "--per", "rating")
    told = fluxbatch("reroll", rejected, *mistyped, "--budget", "0", "--json")
    refused = fluxbatch("reroll", rejected, *mistyped, "--yes", "--json")

    assert told.code == 4, told.err
    assert told.object["reroll"]["picked"] == 1_000
    assert refused.code == 2
    assert "more than 100,000 jobs" in refused.err
    assert reroll(rejected, "--budget", "0").object["reroll"]["withdrawn"] == 1_000 - JOBS


@pytest.mark.parametrize("die_at", ["submitting:1", "submitting:7", "running:4", "stored:9"])
def test_a_kill_in_the_middle_makes_none_twice(
    emulator: EmulatorProcess, rejected: Path, die_at: str
) -> None:
    """
    Killed with -9 and started again, it goes on with the same run: its budget is not renewed.
    """
    words = ["reroll", str(rejected), "--where", "rating=reject", "--budget", "0.50", "--json"]
    env = {
        **os.environ,
        "EACHLABS_API_KEY": KEY,
        "FLUXBATCH_RECONCILE__SOLE_USER": "true",
        "FLUXBATCH_RECONCILE__LAG": "0.6",
        "FLUXBATCH_PROVIDER__TIMEOUT": "1.5",
    }
    killed = subprocess.run(
        [sys.executable, "-m", "tests.kills.doomed", die_at, *words],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    again = fluxbatch(*words, env=env)

    assert (again.code, again.object["jobs"]["done"]) == (0, JOBS), again.err
    stats = emulator.stats()
    assert stats["billed_micro_usd"] == 2 * JOBS * PRICE
    assert stats["double_billed"] == 0
    assert len(images(rejected)) == 2 * JOBS
    assert again.object["cost_usd"]["run"] == "0.50"
    assert len(query(rejected, "SELECT 1 FROM runs")) == 2
    assert query(rejected, "SELECT max(number), count(*) FROM rerolls") == [(1, JOBS)]


def test_two_at_once_make_each_row_once(emulator: EmulatorProcess, rejected: Path) -> None:
    """
    Both say the price; one works, and the other is told so or finds nothing left.
    """
    words = ("reroll", rejected, "--where", "rating=reject", "--budget", "0.50", "--json")
    with started(*words) as one, started(*words) as other:
        talk = [process.communicate(timeout=120)[1] for process in (one, other)]

    assert sorted({0, 6} | {one.returncode, other.returncode}) == [0, 6], talk
    assert 0 in (one.returncode, other.returncode), talk
    stats = emulator.stats()
    assert (stats["created"], stats["double_billed"]) == (2 * JOBS, 0)
    assert query(rejected, "SELECT max(number), count(*) FROM rerolls") == [(1, JOBS)]


def test_the_price_that_is_said_is_what_is_set_aside(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    The most that one has cost here, where that is above the list's price.
    """
    with closing(sqlite3.connect(rejected / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE predictions SET cost = 2 * cost WHERE seq = 1")

    told = reroll(rejected)

    assert told.code == 2
    assert "price: up to $1.00, $0.05 each" in told.err


def test_without_a_terminal_it_takes_a_budget_or_a_yes(
    emulator: EmulatorProcess, rejected: Path
) -> None:
    """
    The price is said, nothing is bought, and nothing waits.
    """
    told = reroll(rejected)

    assert told.code == told.object["exit"] == 2
    assert "up to $0.50: give --budget USD, or --yes" in told.err
    assert emulator.stats()["created"] == JOBS
    assert query(rejected, "SELECT count(*) FROM rerolls") == [(0,)]


def test_half_a_choice_is_refused(rejected: Path) -> None:
    """
    Nothing chosen is not everything; fields that there are not are named.
    """
    for words, why in (
        ((), "say what is made anew"),
        (("--until", "3"), "--until and --per go together"),
        (("--until", "3", "--per", "axis.style"), "--per: no such field 'axis.style'"),
        (("--where", "ratin=reject"), "no such field 'ratin'"),
    ):
        told = fluxbatch("reroll", rejected, *words, "--yes", "--json")
        assert told.code == 2
        assert why in told.err


async def test_rows_are_made_anew_from_python(
    emulator: EmulatorProcess, rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The plan, the run's summary, and the rows with their rerolls.
    """
    monkeypatch.setenv("EACHLABS_API_KEY", KEY)
    dataset = Dataset(rejected)
    told = await dataset.reroll("rating=reject", budget="0.30")
    rest = await dataset.reroll("rating=reject")
    nothing = await dataset.reroll("rating=reject")

    assert told.summary is not None
    assert told.summary.exit_code is ExitCode.STOPPED
    assert (len(told.plan.picks), told.plan.cost) == (JOBS, JOBS * PRICE)
    assert rest.summary is not None
    assert rest.summary.exit_code is ExitCode.DONE
    assert (rest.plan.waiting, nothing.summary) == (8, None)
    assert [result.reroll for result in dataset.results()] == [0] * JOBS + [1] * JOBS
    assert dataset.totals().spent == 2 * JOBS * PRICE
    with pytest.raises(ConfigError, match="say what is made anew"):
        await dataset.reroll()


async def test_a_model_without_a_seed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It would be asked for the same once more; nothing is bought, and nothing waits.
    """
    schema = {"properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
    monkeypatch.setitem(MODELS, "seedless", Model("seedless", "", PRICE, schema))
    monkeypatch.setenv("EACHLABS_API_KEY", KEY)
    bench = Bench(tmp_path, settings={"model": "seedless"})
    async with provider_in_process() as emulator:
        await bench.run(emulator.base_url, bench.write([{"prompt": "a lighthouse"}]))
        with pytest.raises(ConfigError, match="'seedless' takes no seed"):
            await Dataset(bench.out).reroll("prompt", budget="1")

        assert emulator.stats["created"] == 1
    assert bench.query("SELECT count(*) FROM rerolls") == [(0,)]
