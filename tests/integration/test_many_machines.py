"""A dataset in PostgreSQL on the command line: what processes share, and what is refused."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from fluxbatch import Dataset
from tests.integration.test_images_elsewhere import manifest
from tests.kills.killing import wait_for_creates
from tests.kills.sharing import SharedRun, shared_run
from tests.kills.sharing import emulator as emulator
from tests.support.commands import Ended, fluxbatch, started
from tests.support.emulator import EmulatorProcess
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.proof

shared = shared_run(accounts=2)


def again(run: SharedRun, *flags: str, name: str = "NIGHT", **env: str) -> Ended:
    """One more process of the run, to its end."""
    return fluxbatch(
        "run", run.folder / f"{run.dataset}.jsonl", "--out", run.address, "--run", name,
        "--base-url", run.emulator.base_url, "--json", *flags, env=run.environment() | env,
    )  # fmt: skip


def test_a_limit_holds_for_all_workers_together(shared: SharedRun) -> None:
    shared.flags = ("--limit", "12")
    shared.write(60)
    for worker in range(2):
        shared.start(worker)
    assert shared.finish() == [4, 4], shared.logs()
    assert shared.emulator.stats()["billed"] == 12


def test_failures_are_counted_over_all_workers(shared: SharedRun) -> None:
    """
    No create follows the failure that is one too many but those committed together with it.
    """
    shared.emulator.faults(prediction_filtered=1.0)
    shared.flags = ("--max-failures", "8")
    shared.accounts = 3
    shared.write(200)
    for worker in range(3):
        shared.start(worker)
    assert shared.finish() == [4, 4, 4], shared.logs()
    ((ended, of_all, reason),) = shared.rows("SELECT failures, ends, stop_reason FROM run_gates")
    assert "9 of 9 jobs failed, more than --max-failures 8" in reason
    assert ended == of_all == shared.emulator.stats()["created"]
    assert shared.rows(
        "WITH ninth AS (SELECT seq, xmin::text AS trip FROM history"
        " WHERE subject = 'job' AND became = 'failed' ORDER BY seq OFFSET 8 LIMIT 1)"
        " SELECT count(*) FROM history, ninth WHERE history.event = 'intent committed'"
        " AND history.seq > ninth.seq AND history.xmin::text <> ninth.trip"
    ) == [(0,)]
    accounts = shared.rows("SELECT count(DISTINCT account) FROM predictions")
    assert accounts == [(3,)]


def test_a_run_that_has_ended_is_told_of_and_buys_nothing(shared: SharedRun) -> None:
    """
    A supervisor that starts everything again does not spend a fresh cap.
    """
    shared.write(20)
    first = again(shared, "--budget", "0.25")
    assert (first.code, first.object["jobs"]["done"]) == (4, 10), first.err
    second = again(shared, "--budget", "0.25")
    assert second.code == 4
    assert second.object["run_id"] == "NIGHT"
    assert second.object["cost_usd"] == first.object["cost_usd"]
    assert shared.emulator.stats()["billed"] == 10
    assert "--run NIGHT-2 " in second.err  # the same command would buy nothing for ever
    status = fluxbatch("status", shared.address, env=shared.environment())
    assert "with another `--run NAME`" in status.out
    other = again(shared, "--budget", "0.10", name="NEXT")
    assert (other.code, other.object["jobs"]["done"]) == (4, 14), other.err


def test_a_worker_with_other_caps_does_not_join(shared: SharedRun) -> None:
    shared.write(200)
    shared.flags = ("--budget", "3.00")
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    other = again(shared, "--budget", "9.00")
    assert other.code == 6
    assert "$3.00 per run" in other.err
    assert "$9.00 per run" in other.err


def test_a_run_of_another_name_does_not_begin_while_one_is_at_work(shared: SharedRun) -> None:
    """
    A night that overlaps with the next: its name is not used up, and serves once the first is over.
    """
    shared.write(60)
    shared.flags = ("--budget", "1.00")
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    refused = again(shared, "--budget", "2.00", name="NEXT")
    assert refused.code == 6, refused.err
    assert "run 'NIGHT' is at work on this dataset" in refused.err
    assert shared.finish() == [4], shared.logs()
    assert again(shared, "--budget", "2.00", name="NEXT").code == 0
    assert shared.check(60)["billed"] == 60


def test_a_database_that_lets_in_and_does_nothing_more_is_not_tried_for_ever(
    shared: SharedRun,
) -> None:
    """
    Somebody has locked the jobs: `ledger.patience` runs out though joining works each time.
    """
    shared.write(120)
    shared.settings = {"FLUXBATCH_LEDGER__PATIENCE": "8"}
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    with psycopg.connect(shared.server.url) as connection:
        connection.execute(f'LOCK TABLE "{shared.dataset}".jobs IN ACCESS EXCLUSIVE MODE')
        assert shared.finish(90) == [1], shared.logs()
    shared.start(0)
    assert shared.finish() == [0], shared.logs()
    assert shared.check(120)["billed"] == 120


def test_no_maintenance_while_workers_are_there(shared: SharedRun) -> None:
    shared.write(200)
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    for verb in ("retry", "reconcile"):
        more = () if verb == "retry" else ("--base-url", shared.emulator.base_url)
        ended = fluxbatch(verb, shared.address, *more, env=shared.environment())
        assert ended.code == 6
        assert "in use by a worker on" in ended.err
    status = fluxbatch("status", shared.address)
    assert status.code == 0


def test_reading_verbs_need_no_right_but_to_read(shared: SharedRun, tmp_path: Path) -> None:
    shared.write(5)
    assert again(shared).code == 0
    with psycopg.connect(shared.server.url, autocommit=True) as server:
        server.execute("CREATE ROLE reader LOGIN")
        server.execute(f'GRANT USAGE ON SCHEMA "{shared.dataset}" TO reader')
        server.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{shared.dataset}" TO reader')
    address = shared.address.replace("postgres@", "reader@")
    for words in (
        ("status", address),
        ("ls", address),
        ("show", address, "#1"),
        ("why", address, "#1"),
        ("watch", address),
        ("export", address, "-f", "csv", "--to", tmp_path / "e"),
        ("report", address, "--to", tmp_path / "r"),
    ):
        ended = fluxbatch(*words)
        assert ended.code == 0, ended.err
    dataset = Dataset.open(address)
    rows = list(dataset.rows("status=done and cost>0"))
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert all(row.images[0].read() for row in rows)
    assert dataset.to_polars("number<=2")["sha256"].to_list() == [
        row.images[0].sha256 for row in rows[:2]
    ]


def test_reading_waits_for_no_writer(shared: SharedRun) -> None:
    shared.write(3)
    assert again(shared).code == 0
    with psycopg.connect(shared.server.url) as writer:
        writer.execute(f'SET search_path TO "{shared.dataset}"')
        writer.execute("UPDATE budgets SET cap = cap")
        writer.execute("UPDATE jobs SET state = state")
        assert fluxbatch("status", shared.address).code == 0


def test_a_second_dataset_does_not_wait_for_the_key_where_it_is_told_not_to(
    shared: SharedRun, server: PostgresServer, emulator: EmulatorProcess
) -> None:
    shared.write(200)
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    other = SharedRun(
        shared.folder, server, emulator, accounts=2, dataset="another one", keyring=shared.dataset
    )
    other.write(3)
    ended = again(other, "--no-wait", name="OTHER")
    assert ended.code == 6
    assert f"in use by dataset {shared.dataset!r}" in ended.err


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("postgresql://postgres@HOST/postgres", "is not of the form"),
        ("postgresql://postgres@HOST/postgres/" + "n" * 64, "PostgreSQL keeps 63"),
        ("postgresql://postgres@HOST/postgres/fluxbatch", "choose another one"),
        ("postgresql://postgres:secret@HOST/postgres/night", "PGPASSWORD"),
        ("postgresql://postgres@HOST/postgres/night", "has no folder for its images"),
    ],
)
def test_what_cannot_be_a_shared_dataset_is_refused(
    shared: SharedRun, tmp_path: Path, out: str, words: str
) -> None:
    address = out.replace("HOST", f"127.0.0.1:{shared.server.port}")
    ended = fluxbatch(
        "run", manifest(tmp_path, 2), "--out", address, "--base-url", shared.emulator.base_url
    )
    assert ended.code == 2
    assert words in ended.err
    assert "secret" not in ended.err
    assert shared.emulator.stats()["created"] == 0


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = fluxbatch("status", "postgresql://me@127.0.0.1:1/db/night")
    assert ended.code == 1
    assert "127.0.0.1" in ended.err


def test_a_name_that_is_not_there_is_not_made(shared: SharedRun) -> None:
    shared.write(1)
    assert again(shared).code == 0
    for verb in ("status", "ls", "repair"):
        ended = fluxbatch(verb, f"{shared.address}x")
        assert ended.code == 2
        assert f"did you mean {shared.dataset!r}" in ended.err
    assert shared.rows("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%dex'") == [(0,)]


def test_a_run_that_is_refused_leaves_no_dataset(shared: SharedRun) -> None:
    """
    Neither without a place for its images, nor where that is refused; the next one makes it. What
    a run has written stays, whatever refuses the next.
    """
    shared.write(1)
    schemas = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{shared.dataset}'"
    nowhere = f"file://{shared.folder}/nowhere"
    without = {n: v for n, v in shared.environment().items() if n != "FLUXBATCH_SINK__STORE"}
    for env, words in (
        (without, "has no folder for its images"),
        (without | {"FLUXBATCH_SINK__STORE": nowhere}, "there is no folder"),
    ):
        ended = fluxbatch(
            "run", shared.folder / f"{shared.dataset}.jsonl", "--out", shared.address,
            "--base-url", shared.emulator.base_url, env=env,
        )  # fmt: skip
        assert ended.code == 2
        assert words in ended.err
        assert shared.rows(schemas) == [(0,)]
        assert "there is no dataset" in fluxbatch("status", shared.address).err
    assert again(shared).code == 0
    assert again(shared, name="NEXT", FLUXBATCH_SINK__STORE=nowhere).code == 2
    assert shared.rows("SELECT count(*) FROM jobs WHERE state = 'done'") == [(1,)]


def test_a_database_that_comes_back_is_waited_for(shared: SharedRun) -> None:
    """
    Every connection is ended, twice; the process goes on, and nothing is bought twice.
    """
    shared.write(120)
    shared.start(0)
    for wanted in (10, 40):
        wait_for_creates(shared.emulator, wanted)
        with psycopg.connect(shared.server.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
    assert shared.finish() == [0], shared.logs()
    assert shared.check(120)["billed"] == 120


def test_a_server_that_is_down_for_a_while_is_waited_for(shared: SharedRun) -> None:
    """
    Nobody answers at its port: each try is told, and the run goes on once somebody does.
    """
    shared.write(60)
    shared.start(0)
    wait_for_creates(shared.emulator, 10)
    shared.server.stop("immediate")
    shared.until(lambda: shared.log(0).read_text().lower().count("connection refused") >= 2)
    shared.server.start()
    assert shared.finish() == [0], shared.logs()
    assert shared.check(60)["billed"] == 60


def test_a_run_can_be_watched_from_anywhere(shared: SharedRun) -> None:
    shared.write(60)
    shared.start(0)
    wait_for_creates(shared.emulator, 1)
    with started("watch", shared.address) as watching:
        shown, told = watching.communicate(timeout=60)
    assert shared.finish() == [0]
    assert watching.returncode == 0, told
    assert "60 creates, $1.50, exit 0" in shown
