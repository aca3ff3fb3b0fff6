"""Several processes on one ledger: leases, claims, and what holds for a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text

from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ExitCode, HeldElsewhere
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sql import Statement
from fluxbatch.ledger.operations.intents import Intend, Intent, KeyUse
from fluxbatch.ledger.operations.runs import EndRun
from fluxbatch.ledger.sharing.failovers import unsearched_accounts, was_searched
from fluxbatch.ledger.sharing.lanes import (
    LaneLost,
    Lease,
    RunStopped,
    creates_of_other_datasets,
    give_back_lanes,
    lanes_of,
    renew_lanes,
    take_lanes,
)
from fluxbatch.ledger.sharing.server_clock import (
    ClockSighting,
    advance_generation,
    read_server_time,
    recall_sighting,
    remember_sighting,
)
from fluxbatch.ledger.sharing.shared_runs import LeaveRun, stop_run, stopped
from fluxbatch.ledger.sharing.workers import (
    WorkerGone,
    are_jobs_unclaimed,
    be_seen,
    bury,
    claim_jobs,
    claim_these,
    join,
    leave,
    maintaining,
    work_on,
    workers,
)
from fluxbatch.ledger.writer import commit
from tests.ledger.support import BUYER, DAY, Books, E

_names = itertools.count()


@pytest.fixture
def name() -> str:
    return f"shared {next(_names)}"


@pytest.fixture
def db(postgres_url: str, name: str) -> Iterator[PostgresDatabase]:
    with closing(PostgresDatabase(postgres_url, name, create=True)) as opened:
        yield opened


@pytest.fixture
def other(db: PostgresDatabase, postgres_url: str, name: str) -> Iterator[PostgresDatabase]:
    """Another process's connection to the same ledger."""
    with closing(PostgresDatabase(postgres_url, name)) as opened:
        yield opened


def account() -> str:
    """Of this test alone: lanes are shared by all datasets of the server."""
    return f"account {next(_names)}"


def _run(db: PostgresDatabase, statement: str) -> None:
    db.run(Statement(lambda _: text(statement)))


def _pass_time(db: PostgresDatabase, lane: str) -> None:
    """The lease has run out."""
    _run(
        db,
        "UPDATE fluxbatch.lanes SET expires_at = clock_timestamp() - interval '1 s'"
        f" WHERE account = '{lane}'",
    )


def _silence(db: PostgresDatabase, worker: str) -> None:
    """Nobody has seen it for a while."""
    _run(
        db,
        f"UPDATE workers SET seen_at = clock_timestamp() - interval '20 s' WHERE id = '{worker}'",
    )


def test_a_lane_has_one_holder_until_its_lease_runs_out(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    lane = account()
    assert take_lanes(db, "one", [lane], 5) == {lane: 1}
    assert take_lanes(other, "two", [lane], 5) == {}
    assert lane in renew_lanes(db, "one")  # other tests' datasets lie in the same database
    _pass_time(db, lane)
    assert take_lanes(other, "two", [lane], 5) == {lane: 2}
    assert lane not in renew_lanes(db, "one")
    (held,) = lanes_of(db, [lane])
    assert (held.holder, held.is_expired) == ("two", False)


def test_a_lane_that_is_given_back_is_free_at_once(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    lanes = [account() for _ in range(3)]
    assert len(take_lanes(db, "one", lanes, 2)) == 2
    assert len(take_lanes(other, "two", lanes, 5)) == 1
    give_back_lanes(db, "one", lanes)
    assert len(take_lanes(other, "two", lanes, 5)) == 2


def _intend(books: Books, job: int, lease: Lease | None) -> Intend:
    key = KeyUse(BUYER.account, BUYER.key_fingerprint, BUYER.key_label, lease)
    base = books.intent(job)
    return Intend(
        at=base.at, run_seq=base.run_seq, run_id=base.run_id, job_seq=job, key_use=key,
        price=base.price, caps=base.caps, admit=base.admit, send_within_s=5.0, budget_day=DAY,
        seed=1, control_url=None,
    )  # fmt: skip


def _open_gate(db: PostgresDatabase, run_seq: int, most: str = "NULL") -> None:
    _run(
        db,
        f"INSERT INTO run_gates (run_seq, caps, most_creates) VALUES ({run_seq}, '{{}}', {most})",
    )


def test_no_intent_is_written_without_the_lane(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    """
    Neither by an older holder nor once the lease has run out, whoever else wants it.
    """
    books = Books.opened(db, jobs=3)
    _open_gate(db, books.run.seq)
    _run(db, f"DELETE FROM fluxbatch.lanes WHERE account = '{BUYER.account}'")
    epoch = take_lanes(db, "one", [BUYER.account], 1)[BUYER.account]
    assert isinstance(commit(db, _intend(books, 1, Lease("one", epoch))), Intent)
    _pass_time(db, BUYER.account)
    assert commit(db, _intend(books, 2, Lease("one", epoch))) == LaneLost()
    newer = take_lanes(other, "two", [BUYER.account], 1)[BUYER.account]
    assert newer == epoch + 1
    assert commit(db, _intend(books, 2, Lease("one", epoch))) == LaneLost()
    assert commit(db, _intend(books, 2, Lease("two", epoch))) == LaneLost()
    assert isinstance(commit(other, _intend(books, 2, Lease("two", newer))), Intent)


def test_a_limit_and_a_stop_hold_for_everybody(db: PostgresDatabase) -> None:
    books = Books.opened(db, jobs=3)
    _open_gate(db, books.run.seq, "1")
    _run(db, f"DELETE FROM fluxbatch.lanes WHERE account = '{BUYER.account}'")
    lease = Lease("one", take_lanes(db, "one", [BUYER.account], 1)[BUYER.account])
    assert isinstance(commit(db, _intend(books, 1, lease)), Intent)
    refused = commit(db, _intend(books, 2, lease))
    assert isinstance(refused, RunStopped)
    assert refused.code is ExitCode.STOPPED
    _run(db, "UPDATE run_gates SET most_creates = NULL")
    stop_run(db, books.run.seq, ExitCode.STOPPED, "enough")
    stop_run(db, books.run.seq, ExitCode.STOPPED, "a later reason")
    assert stopped(db, books.run.seq) == (ExitCode.STOPPED, "enough")
    assert commit(db, _intend(books, 2, lease)) == RunStopped(ExitCode.STOPPED, "enough")


def test_no_job_is_claimed_twice_and_the_claims_of_the_dead_are_free(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    books = Books.opened(db, jobs=3)
    seq = books.run.manifest_seq
    join(db, "one", "run")
    join(other, "two", "run")
    assert [job.seq for job in claim_jobs(db, "one", seq, 2)] == [1, 2]
    assert [job.seq for job in claim_jobs(other, "two", seq, 5)] == [3]
    assert not are_jobs_unclaimed(db, seq)
    _silence(db, "one")
    bury(other, "two")
    claim_these(db, "one", [1, 2])  # it stood still, and does not know yet
    assert claim_jobs(db, "one", seq, 2) == []
    assert are_jobs_unclaimed(db, seq)
    assert [job.seq for job in claim_jobs(other, "two", seq, 5)] == [1, 2]
    claim_these(other, "two", [1, 2, 3])
    leave(other, "two")
    assert are_jobs_unclaimed(db, seq)


def test_who_was_buried_learns_it(db: PostgresDatabase, other: PostgresDatabase) -> None:
    join(db, "one", "run")
    be_seen(db, "one", None)
    _silence(db, "one")
    join(other, "two", "run")
    assert [one.worker for one in workers(db)] == ["two"]
    with pytest.raises(WorkerGone):
        be_seen(db, "one", None)


def test_who_was_buried_by_whoever_ended_the_run_does_not_end_it_again(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    """
    Both told that they were the last: what comes after the run was done twice.
    """
    books = Books.opened(db)
    end = EndRun(books.now(), books.run.seq, ExitCode.DONE, "every job is done")
    for worker, connection in (("one", db), ("two", other)):
        join(connection, worker, "run")
        work_on(connection, worker, books.run.seq)
    _silence(db, "one")
    assert commit(other, LeaveRun("two", end))
    assert not commit(db, LeaveRun("one", end))


def test_maintenance_and_workers_exclude_each_other(
    db: PostgresDatabase, postgres_url: str, name: str
) -> None:
    def connect() -> PostgresDatabase:
        return PostgresDatabase(postgres_url, name)

    maintained = pytest.raises(HeldElsewhere, match="in use by a maintenance verb")
    with maintaining(connect), maintained:
        join(db, "one", "run")
    join(db, "one", "run")
    with pytest.raises(HeldElsewhere, match="in use by a worker on"), maintaining(connect):
        pass


def test_who_is_in_the_way_is_told_with_how_long_it_would_be_if_it_was_killed(
    db: PostgresDatabase, postgres_url: str, name: str
) -> None:
    """
    Nobody can tell at once that a process is dead: fifteen seconds after it was seen, it is.
    """

    def connect() -> PostgresDatabase:
        return PostgresDatabase(postgres_url, name)

    join(db, "one", "run")
    _run(db, "UPDATE workers SET seen_at = clock_timestamp() - interval '11.5 s'")
    words = r"wait for it, or stop it \(if it was killed, this works in 4 s\)"
    with pytest.raises(HeldElsewhere, match=words), maintaining(connect):
        pass
    _run(db, "UPDATE workers SET seen_at = clock_timestamp() - interval '15.5 s'")
    with maintaining(connect):
        assert [one.role for one in workers(db)] == ["maintenance"]


def test_another_version_does_not_join(db: PostgresDatabase) -> None:
    join(db, "one", "run")
    _run(db, "UPDATE workers SET version = '0.0.1'")
    with pytest.raises(HeldElsewhere, match=r"is fluxbatch 0\.0\.1"):
        join(db, "two", "run")


def test_the_creates_of_other_datasets_on_an_account_are_known(
    db: PostgresDatabase, postgres_url: str
) -> None:
    """
    By their ledgers: a lane's next holder counts them whichever dataset made them.
    """
    lane = BUYER.account
    with closing(PostgresDatabase(postgres_url, f"other {next(_names)}", create=True)) as theirs:
        books = Books.opened(theirs, jobs=3)
        books.buy(1)
        _run(theirs, f"DELETE FROM fluxbatch.lanes WHERE account = '{lane}'")
        take_lanes(theirs, "theirs", [lane], 1)
        mine = [one for one in creates_of_other_datasets(db, [lane]) if one.is_live]
        assert (mine[-1].prediction, mine[-1].is_counted) == (1, True)
        assert creates_of_other_datasets(theirs, [lane]) == [] or all(
            one.dataset != "theirs" for one in creates_of_other_datasets(theirs, [lane])
        )


def test_a_generation_is_begun_once_by_whoever_is_first(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    before = read_server_time(db)
    advance_generation(db, before.generation, is_failover=False)
    advance_generation(other, before.generation, is_failover=False)
    after = read_server_time(other)
    assert after.generation == before.generation + 1
    assert after.boot_id != before.boot_id
    assert after.began_s > before.began_s
    assert not after.is_new_timeline


def _open_counting_gate(db: PostgresDatabase, columns: str, values: str) -> None:
    _run(
        db,
        f"INSERT INTO run_gates (run_seq, caps, {columns}) SELECT seq, '{{}}', {values} FROM runs",
    )


def _fail(books: Books, job: int, reason: str = "NSFW") -> None:
    books.move(books.run_one(job), E.FAILED, failure=FailureClass.FILTERED, reason=reason)


def test_a_database_of_before_learns_to_keep_what_machines_saw_of_its_clock(
    db: PostgresDatabase, postgres_url: str, name: str
) -> None:
    late = "fluxbatch.clock_sightings, fluxbatch.failover_searches"  # one after the other
    db.run(Statement(lambda _: text(f"DROP TABLE {late}")))

    with closing(PostgresDatabase(postgres_url, name, create=True)) as again:
        machine = account()
        assert recall_sighting(again, machine) is None
        for seen in (ClockSighting("pg-1", 5.25), ClockSighting("pg-2", 7.5)):
            remember_sighting(again, machine, seen)
            assert recall_sighting(again, machine) == seen
        assert unsearched_accounts(again, failover=2) == []


def test_what_a_failover_lost_is_searched_for_by_each_dataset_for_itself(
    db: PostgresDatabase, postgres_url: str, name: str
) -> None:
    """
    Whoever has the account now looks for its own creates, and knows nothing of others' jobs.
    """
    shared = account()
    with closing(PostgresDatabase(postgres_url, f"{name} too", create=True)) as theirs:
        for one in (db, theirs):
            assert take_lanes(one, "worker", [shared], 1)
            give_back_lanes(one, "worker", [shared])
        was_searched(theirs, shared, failover=2)

        assert [found.account for found in unsearched_accounts(db, failover=2)] == [shared]
        assert unsearched_accounts(theirs, failover=2) == []
        assert [found.account for found in unsearched_accounts(theirs, failover=3)] == [shared]


def test_the_failure_that_is_one_too_many_stops_everybody(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    """
    Whoever wrote it; done jobs are counted, and stop nothing.
    """
    books = Books.opened(db, jobs=4)
    _open_counting_gate(db, "failure_cap, most_failures", "'1', 1")
    theirs = replace(books, db=other)
    _fail(books, 1)
    generated = theirs.generate(2)
    assert generated.wanted is not None
    theirs.store(generated.wanted.outputs[0].output_seq)
    assert stopped(db, books.run.seq) is None
    _fail(theirs, 3)
    reason = "2 of 3 jobs failed, more than --max-failures 1"
    assert stopped(db, books.run.seq) == (ExitCode.STOPPED, reason)
    _fail(books, 4)
    assert stopped(other, books.run.seq) == (ExitCode.STOPPED, reason)


def test_a_share_of_failures_is_judged_once_enough_jobs_have_ended(db: PostgresDatabase) -> None:
    books = Books.opened(db, jobs=20)
    _open_counting_gate(db, "failure_cap, failed_share", "'50%', 0.5")
    for job in range(1, 20):
        _fail(books, job)
        assert stopped(db, books.run.seq) is None
    _fail(books, 20)
    reason = "20 of 20 jobs failed, more than --max-failures 50%"
    assert stopped(db, books.run.seq) == (ExitCode.STOPPED, reason)


def test_failures_alike_in_a_row_are_counted_over_all_workers(
    db: PostgresDatabase, other: PostgresDatabase
) -> None:
    """
    Ids and numbers in their words make no difference; a success in between does.
    """
    books = Books.opened(db, jobs=8)
    _open_counting_gate(db, "most_alike", "3")
    theirs = replace(books, db=other)
    for job, buyer in ((1, books), (2, theirs)):
        _fail(buyer, job, f"no room on node {job}")
    theirs.generate(3)
    for job, buyer in ((4, books), (5, theirs)):
        _fail(buyer, job, f"no room on node {job}")
    _fail(books, 6, "quite another reason")
    assert stopped(db, books.run.seq) is None
    _fail(theirs, 7, "quite another reason")
    _fail(books, 8, "quite another reason")
    reason = "3 predictions in a row failed alike (filtered: quite another reason)"
    assert stopped(db, books.run.seq) == (ExitCode.STOPPED, reason)
