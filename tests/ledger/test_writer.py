"""The one writer: groups, failures, cancellation, other programs.

Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import DatabaseFailed, IllegalTransition, LedgerError
from fluxbatch.infra.runtime import ToThread, in_thread
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.intents import Intent
from fluxbatch.ledger.operations.transitions import Evidence, Transition
from fluxbatch.ledger.operations.uploads import RememberFiles, StoredFileHash
from fluxbatch.ledger.writer import BatchCommit, LedgerWriter, Operation, commit_group
from tests.ledger.conftest import Connect
from tests.ledger.support import Books, all_rows, assert_agrees, at, fetch

E = PredictionEvent
T = TypeVar("T")


class Crash(BaseException):
    """What the simulation raises to end a process."""


@dataclass(frozen=True)
class Raise:
    """An operation that writes, and then raises."""

    error: BaseException

    def apply(self, db: Database) -> None:
        fetch(db, "UPDATE jobs SET reason = 'half written'")
        raise self.error


@asynccontextmanager
async def writing(db: Database, to_thread: ToThread = in_thread) -> AsyncIterator[LedgerWriter]:
    writer = LedgerWriter(db, to_thread)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        yield writer
        tasks.cancel_scope.cancel()


async def together(writer: LedgerWriter, operations: list[Operation[T]]) -> list[T | Exception]:
    """Apply all at once; answers in order, errors among them."""
    answers: dict[int, T | Exception] = {}

    async def one(number: int, operation: Operation[T]) -> None:
        try:
            answers[number] = await writer.apply(operation)
        except (LedgerError, ZeroDivisionError) as exc:
            answers[number] = exc

    async with anyio.create_task_group() as tasks:
        for number, operation in enumerate(operations):
            tasks.start_soon(one, number, operation)
    return [answers[number] for number in range(len(operations))]


def open_books(path: Path, jobs: int, *, busy_ms: int = 1_000) -> Books:
    return Books.opened(SqliteDatabase(path, busy_ms=busy_ms), jobs=jobs)


@pytest.fixture
def sqlite_books(tmp_path: Path) -> Books:
    """Three hundred jobs in a file."""
    books = open_books(tmp_path / "ledger.sqlite", 300)
    books.checked = False
    return books


async def test_operations_that_wait_together_share_one_commit(sqlite_books: Books) -> None:
    """
    A hundred intents, one transaction, each with its own answer.
    """
    db = sqlite_books.db
    assert isinstance(db, SqliteDatabase)
    traced: list[str] = []
    db._connection.set_trace_callback(traced.append)
    async with writing(db) as writer:
        answers = await together(writer, [sqlite_books.intent(n) for n in range(1, 101)])
    assert answers == [Intent(n, 1) for n in range(1, 101)]
    assert traced.count("COMMIT") == traced.count("BEGIN IMMEDIATE") == 1


async def test_a_long_queue_is_committed_in_groups_and_in_order(sqlite_books: Books) -> None:
    """
    A group has a limit, so that nobody waits for ever.
    """
    async with writing(sqlite_books.db) as writer:
        answers = await together(writer, [sqlite_books.intent(n) for n in range(1, 301)])
    assert answers == [Intent(n, 1) for n in range(1, 301)]
    assert_agrees(sqlite_books.db)


@pytest.mark.parametrize("error", [IllegalTransition("no such cell"), ZeroDivisionError("a bug")])
async def test_an_operation_that_raises_is_rolled_back_alone(
    connect: Connect, error: Exception
) -> None:
    """
    The others of its group are committed, and so are those that come later.
    """
    books = Books.opened(connect(), jobs=3)
    operations: list[Operation[object]] = [books.intent(1), Raise(error), books.intent(2)]
    async with writing(books.db) as writer:
        answers = await together(writer, operations)
        later = await writer.apply(books.intent(3))
    assert [type(answer) for answer in answers] == [Intent, type(error), Intent]
    assert isinstance(later, Intent)
    assert [job["reason"] for job in all_rows(books.db, schema.jobs)] == [None] * 3
    assert_agrees(books.db)


async def test_a_group_that_falls_apart_is_counted_and_told(connect: Connect) -> None:
    books, told = Books.opened(connect(), jobs=3), list[tuple[int, str]]()
    writer = LedgerWriter(books.db, in_thread, split=lambda times, why: told.append((times, why)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        operations: list[Operation[object]] = [books.intent(1), Raise(ZeroDivisionError("a bug"))]
        await together(writer, operations)
        await writer.apply(books.intent(2))
        tasks.cancel_scope.cancel()
    assert told == [(1, "a bug")]
    assert writer.groups_split == 1


async def test_a_row_the_schema_refuses_fails_its_own_operation_alone(connect: Connect) -> None:
    """
    Two predictions with one provider id can only come from a bug; the run goes on.
    """
    books = Books.opened(connect(), jobs=3)

    @dataclass(frozen=True)
    class Twice:
        def apply(self, db: Database) -> None:
            fetch(db, "UPDATE predictions SET provider_id = 'same'")

    books.buy(1), books.buy(2)
    async with writing(books.db) as writer:
        operations: list[Operation[object]] = [Twice(), books.intent(3)]
        refused, bought = await together(writer, operations)
    assert isinstance(refused, LedgerError)
    assert not isinstance(refused, DatabaseFailed)
    assert "refuses" in str(refused)
    assert isinstance(bought, Intent)
    assert_agrees(books.db)


def test_a_crash_inside_an_operation_leaves_nothing_behind(books: Books) -> None:
    """
    What is no error of the operation goes through, and the connection is usable again.
    """
    with pytest.raises(Crash):
        commit_group(books.db, [books.intent(1), Raise(Crash())])
    assert books.buy(1)


async def test_a_commit_that_fails_fails_all_that_wait_and_breaks_the_writer(
    connect: Connect,
) -> None:
    """
    Nobody is told that something is durable that is not; nothing later is tried.
    """
    books = Books.opened(connect(), jobs=3)
    books.checked = False

    @dataclass(frozen=True)
    class Disconnect:
        def apply(self, db: Database) -> None:
            db.close()

    operations: list[Operation[object]] = [books.intent(1), Disconnect(), books.intent(2)]
    async with writing(books.db) as writer:
        answers = await together(writer, operations)
        with pytest.raises(LedgerError, match="failed"):
            await writer.apply(books.intent(3))
    assert all(isinstance(answer, LedgerError) for answer in answers)
    assert len({id(answer) for answer in answers}) == 3, "each waiter raises its own"
    again = Books(connect())
    assert all_rows(again.db, schema.predictions) == []
    assert_agrees(again.db)


async def test_those_behind_a_failing_group_are_failed_with_it(sqlite_books: Books) -> None:
    """
    What still queues when the database fails is told at once.
    """

    @dataclass(frozen=True)
    class Disconnect:
        def apply(self, db: Database) -> None:
            db.close()

    operations: list[Operation[object]] = [Disconnect()]
    operations += [sqlite_books.intent(n) for n in range(1, 301)]
    async with writing(sqlite_books.db) as writer:
        answers = await together(writer, operations)
    assert all(isinstance(answer, LedgerError) for answer in answers)


class Gate:
    """Blocking calls that wait at a gate, to act while one is under way."""

    def __init__(self) -> None:
        self.reached, self.opened = anyio.Event(), anyio.Event()

    async def __call__(self, call: Callable[[], T], /) -> T:
        await anyio.lowlevel.checkpoint()
        self.reached.set()
        with anyio.CancelScope(shield=True):
            await self.opened.wait()
        return call()


async def test_a_cancelled_waiter_takes_nothing_from_the_others(connect: Connect) -> None:
    """
    Its operation may have happened; the ledger agrees either way.
    """
    books, gate = Books.opened(connect(), jobs=2), Gate()
    async with writing(books.db, gate) as writer, anyio.create_task_group() as tasks:
        leaving = anyio.CancelScope()
        answers: list[object] = []

        async def wait_in(scope: anyio.CancelScope, job_seq: int) -> None:
            with scope:
                answers.append(await writer.apply(books.intent(job_seq)))

        tasks.start_soon(wait_in, leaving, 1)
        tasks.start_soon(wait_in, anyio.CancelScope(), 2)
        await gate.reached.wait()
        leaving.cancel()
        gate.opened.set()
    assert answers == [Intent(2, 1)]
    assert [job["state"] for job in all_rows(books.db, schema.jobs)] == ["active", "active"]
    assert_agrees(books.db)


async def test_who_asks_in_the_moment_the_writer_is_cancelled_with_it_leaves_without_an_error(
    connect: Connect,
) -> None:
    """
    What it had waited for came in that moment, so its own cancellation is heard a turn later.
    """
    books, came = Books.opened(connect(), jobs=1), anyio.Event()
    writer = LedgerWriter(books.db, in_thread)

    async def ask() -> None:
        await came.wait()
        await writer.apply(books.intent(1))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(writer.run)
        await anyio.wait_all_tasks_blocked()
        came.set()
        tasks.cancel_scope.cancel()
    assert_agrees(books.db)


async def test_a_writer_that_is_stopped_answers_what_it_has_committed(connect: Connect) -> None:
    """
    And tells all others that it has stopped: nobody hangs.
    """
    books, gate = Books.opened(connect(), jobs=3), Gate()
    writer = LedgerWriter(books.db, gate)
    answers: dict[int, object] = {}

    async def buy(job_seq: int) -> None:
        try:
            answers[job_seq] = await writer.apply(books.intent(job_seq))
        except LedgerError as exc:
            answers[job_seq] = str(exc)

    async with anyio.create_task_group() as buyers, anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        buyers.start_soon(buy, 1)
        await gate.reached.wait()
        buyers.start_soon(buy, 2)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        gate.opened.set()
    await buy(3)
    stopped = "the ledger's writer has stopped"
    assert answers == {1: Intent(1, 1), 2: stopped, 3: stopped}
    assert_agrees(books.db)


async def test_operations_that_come_before_the_writer_runs_wait_for_it(books: Books) -> None:
    """
    Nobody needs to know which task was started first.
    """
    writer = LedgerWriter(books.db, in_thread)
    answers: list[object] = []

    async def buy() -> None:
        answers.append(await writer.apply(books.intent(1)))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buy)
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(writer.run)
    assert answers == [Intent(1, 1)]


def test_a_long_read_does_not_hold_the_writer(connect: Connect) -> None:
    """
    A reader in a transaction sees its snapshot while the writer commits.
    """
    books = Books.opened(connect(), jobs=2)
    reader = connect()
    if reader.name == "sqlite":
        fetch(reader, "BEGIN")
    else:
        reader.begin()
        fetch(reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert fetch(reader, "SELECT COUNT(*) FROM predictions") == [(0,)]
    books.buy(1)
    assert fetch(reader, "SELECT COUNT(*) FROM predictions") == [(0,)]
    reader.commit()
    assert fetch(reader, "SELECT COUNT(*) FROM predictions") == [(1,)]


async def test_a_program_that_holds_the_file_locked_is_named_as_the_cause(tmp_path: Path) -> None:
    """
    Past the time-out it is a clear error, and nothing was written.
    """
    books = open_books(tmp_path / "ledger.sqlite", 2, busy_ms=20)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with writing(books.db) as writer:
            with pytest.raises(LedgerError, match=r"locked by another program.*0\.02 s"):
                await writer.apply(books.intent(1))
        other.execute("ROLLBACK")
    assert books.buy(1)


async def test_a_full_disk_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """
    The commit fails, its waiters are told, and what was durable before stays.
    """
    books = open_books(tmp_path / "ledger.sqlite", 300)
    books.checked = False
    ((pages,),) = fetch(books.db, "PRAGMA page_count")
    fetch(books.db, f"PRAGMA max_page_count = {pages + 8}")
    bought = list[int]()

    async def buy_all(writer: LedgerWriter) -> None:
        for job_seq in range(1, 301):
            answer = await writer.apply(books.intent(job_seq))
            assert isinstance(answer, Intent)
            bought.append(answer.prediction_seq)

    async with writing(books.db) as writer:
        with pytest.raises(LedgerError, match="full"):
            await buy_all(writer)
        with pytest.raises(LedgerError, match="full"):
            await writer.apply(books.intent(300))
    assert 0 < len(bought) < 300
    books.db.close()

    again = SqliteDatabase(tmp_path / "ledger.sqlite")
    assert [row["seq"] for row in all_rows(again, schema.predictions)] == bought
    assert_agrees(again)


async def test_events_and_intents_of_many_jobs_mix_in_one_group(connect: Connect) -> None:
    """
    An operation sees what those before it in its group have written.
    """
    books = Books.opened(connect(), jobs=2)
    first = books.buy(1)
    operations: list[Operation[object]] = [
        Transition(at(50), first, E.NOT_SENT),
        books.intent(1),
        books.intent(1),
        Transition(at(51), first + 1, E.ACCEPTED, Evidence()),
    ]
    async with writing(books.db) as writer:
        answers = await together(writer, operations)
    assert answers[1] == Intent(first + 1, 2)
    assert [job["state"] for job in all_rows(books.db, schema.jobs)] == ["active", "pending"]
    assert_agrees(books.db)


def test_what_is_done_together_is_seen_by_others_only_once_it_is_settled(
    database: Database, connect: Connect
) -> None:
    """
    A crash in between leaves nothing of it.
    """
    other = Books(connect())
    together = BatchCommit(database)
    together.apply(_remember("a.png"))
    together.apply(_remember("b.png"))
    assert all_rows(other.db, schema.files) == []

    together.settle()
    together.settle()
    assert [file["path"] for file in all_rows(other.db, schema.files)] == ["a.png", "b.png"]


def test_what_raises_undoes_all_that_was_not_settled(database: Database) -> None:
    """
    And the next may begin again at once.
    """
    together = BatchCommit(database)
    together.apply(_remember("a.png"))
    together.settle()
    together.apply(_remember("b.png"))
    with pytest.raises(LedgerError, match="by the test"):
        together.apply(Raise(LedgerError("by the test")))
    together.apply(_remember("c.png"))
    together.settle()

    assert [file["path"] for file in all_rows(database, schema.files)] == ["a.png", "c.png"]


def _remember(path: str) -> RememberFiles:
    return RememberFiles((StoredFileHash(path, 1, 2, 3, "ab" * 32, "image/png"),))
