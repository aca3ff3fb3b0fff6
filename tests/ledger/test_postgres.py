"""A ledger on a real PostgreSQL server: names, addresses with passwords, two writers at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Barrier, Thread
from urllib.parse import quote

import psycopg
import pytest

from fluxbatch.errors import ConfigError, DatabaseFailed, FluxbatchError, LedgerError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.postgres_connection import why_unsafe
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.intents import Intend, Intent
from fluxbatch.ledger.operations.transitions import Evidence, Transition
from fluxbatch.ledger.writer import Operation, commit_group
from tests.ledger.support import BUYER, DAY, NO_CAPS, PRICE, Books, E, admit, at, fetch

_ROUNDS = 40
_JOBS = 12


def _intent(books: Books, job_seq: int, day: str = DAY) -> Intend:
    return Intend(
        at=at(1), run_seq=books.run.seq, run_id=books.run.run_id, job_seq=job_seq, key_use=BUYER,
        price=PRICE, caps=NO_CAPS, admit=admit, send_within_s=5.0, budget_day=day, seed=1,
        control_url=None,
    )  # fmt: skip


def _buy_and_settle(db: Database, books: Books, jobs: Sequence[int], days: Sequence[str]) -> None:
    """One group of intents, then one of settlements that leave every job pending again."""
    asked = [_intent(books, job, day) for job, day in zip(jobs, itertools.cycle(days))]
    bought = [got.prediction_seq for got in _applied(db, asked) if isinstance(got, Intent)]
    _applied(db, [Transition(at(2), seq, E.NOT_SENT, Evidence()) for seq in bought])


def _applied(db: Database, operations: Sequence[Operation[object]]) -> list[object]:
    outcomes = commit_group(db, operations)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.result for outcome in outcomes]


@contextmanager
def _two_ledgers(url: str, name: str) -> Iterator[tuple[Database, Database, Books]]:
    with (
        closing(PostgresDatabase(url, name, create=True)) as one,
        closing(PostgresDatabase(url, name)) as other,
    ):
        yield one, other, Books.opened(one, jobs=2 * _JOBS)


def _at_once(*works: Callable[[], None]) -> list[Exception]:
    """Each in a thread, begun together; what they raised."""
    failures: list[Exception] = []
    start = Barrier(len(works))

    def do(work: Callable[[], None]) -> None:
        start.wait()
        try:
            for _ in range(_ROUNDS):
                work()
        except Exception as exc:  # noqa: BLE001  # asserted on by the caller
            failures.append(exc)

    threads = [Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_two_who_buy_and_settle_other_jobs_never_wait_for_each_other_for_good(
    postgres_url: str,
) -> None:
    """
    They share the lines of the budget alone.
    """
    first, second = range(1, _JOBS + 1), range(_JOBS + 1, 2 * _JOBS + 1)
    with _two_ledgers(postgres_url, "disjoint") as (one, other, books):
        failures = _at_once(
            lambda: _buy_and_settle(one, books, first, [DAY]),
            lambda: _buy_and_settle(other, books, second, [DAY]),
        )
        assert failures == []
        budgets.audit(one)
        assert fetch(one, "SELECT COUNT(*) FROM predictions") == [(_ROUNDS * 2 * _JOBS,)]


def test_two_who_want_the_same_jobs_the_other_way_round_never_wait_for_good(
    postgres_url: str,
) -> None:
    """
    At midnight too, when one group counts against two days.
    """
    jobs = range(1, _JOBS + 1)
    with _two_ledgers(postgres_url, "crossed") as (one, other, books):
        failures = _at_once(
            lambda: _buy_and_settle(one, books, jobs, [DAY, "2026-01-02"]),
            lambda: _buy_and_settle(other, books, jobs[::-1], ["2026-01-02", DAY]),
        )
        assert failures == []
        budgets.audit(one)


@pytest.mark.parametrize("verb", ["reads to change", "books", "opens"])
def test_who_waits_for_the_line_all_share_holds_no_other(postgres_url: str, verb: str) -> None:
    """
    However the lines lie on the disk: one fixed order, whether or not a turn was taken.
    """
    with _two_ledgers(postgres_url, f"in order, {verb}") as (one, other, books):
        run = books.run.run_id
        verbs: dict[str, Callable[[], object]] = {
            "reads to change": lambda: budgets.lock_lines(other, run, DAY),
            "books": lambda: _book(other, run),
            "opens": lambda: budgets.open_lines(other, run, DAY, NO_CAPS),
        }
        for scope in ("run", "day", "dataset"):  # a new key, a new place behind the others
            for key in ("key || '.'", "rtrim(key, '.')"):
                fetch(one, f"UPDATE budgets SET key = {key} WHERE scope = :scope", scope=scope)
        one.begin()
        fetch(one, "SELECT 1 FROM budgets WHERE scope = 'dataset' FOR UPDATE")
        other.begin()
        waiter = Thread(target=verbs[verb])
        waiter.start()
        while fetch(one, "SELECT COUNT(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
            assert waiter.is_alive()
        free = fetch(one, "SELECT scope FROM budgets ORDER BY scope FOR UPDATE SKIP LOCKED")
        one.commit()
        waiter.join()
        other.commit()
        assert free == [("dataset",), ("day",), ("run",)]


def _book(db: Database, run: str) -> None:
    budgets.book_budgets(db, run, DAY, reserved=1)
    db.rows.settle()


def test_the_nearest_cap_is_named_first_whichever_line_is_locked_first(postgres_url: str) -> None:
    with _two_ledgers(postgres_url, "nearest") as (one, _, books):
        lines = budgets.read_lines(one, books.run.run_id, DAY)
        assert [line.scope for line in lines] == ["run", "day", "dataset"]


def test_reading_what_the_caps_have_waits_for_nobody(postgres_url: str) -> None:
    with _two_ledgers(postgres_url, "unlocked") as (one, other, books):
        one.begin()
        budgets.lock_lines(one, books.run.run_id, DAY)
        assert len(budgets.read_lines(other, books.run.run_id, DAY)) == 3
        one.rollback()


def test_a_name_that_postgres_would_cut_is_refused(postgres_url: str) -> None:
    """
    Two names that share their first 63 bytes would be one ledger; letters may take several bytes.
    """
    longest = "é" * 31 + "x"
    with closing(PostgresDatabase(postgres_url, longest, create=True)) as db:
        assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(0,)]
    for name in (longest + "y", "n" * 64, "n" * 63 + "é"):
        with pytest.raises(ConfigError, match=r"6[45] bytes and PostgreSQL keeps 63; choose"):
            PostgresDatabase(postgres_url, name, create=True)


@pytest.mark.parametrize(
    "name", ["", "a\0b", "pg_catalog", "information_schema", "fluxbatch", "\ud800"]
)
def test_a_name_that_can_be_no_schema_of_ours_is_refused(postgres_url: str, name: str) -> None:
    with pytest.raises(ConfigError, match="a dataset cannot have the name"):
        PostgresDatabase(postgres_url, name, create=True)


def test_opening_a_mistyped_name_makes_nothing(postgres_url: str) -> None:
    """
    Neither for reading nor for a verb that changes what is there; the name meant is told.
    """
    with closing(PostgresDatabase(postgres_url, "lighthouses", create=True)):
        pass
    for read_only, create in ((False, False), (True, False), (True, True)):
        with pytest.raises(ConfigError, match="did you mean 'lighthouses'"):
            PostgresDatabase(postgres_url, "lighthuoses", read_only=read_only, create=create)
    with psycopg.connect(postgres_url) as server:
        found = server.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'light'")
        assert found.fetchall() == [("lighthouses",)]


def test_a_schema_without_a_ledger_is_no_dataset(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE SCHEMA billing")
    with pytest.raises(ConfigError, match="no dataset 'billing'"):
        PostgresDatabase(postgres_url, "billing")


def test_a_reader_reads_and_writes_nothing(postgres_url: str) -> None:
    with (
        _two_ledgers(postgres_url, "to read") as (_, _, books),
        closing(PostgresDatabase(postgres_url, "to read", read_only=True)) as reader,
    ):
        assert len(budgets.read_lines(reader, books.run.run_id, DAY)) == 3
        with pytest.raises(LedgerError, match="read-only"):
            fetch(reader, "DELETE FROM jobs")


class _Pooled(PostgresDatabase):
    """Behind a pooler: each transaction gets a session that others have left as they liked."""

    def begin(self) -> None:
        for statement in (
            "DISCARD ALL",
            'SET search_path TO "decoy"',
            "SET default_transaction_read_only = on",
            "SET default_transaction_isolation = 'serializable'",
            "SET standard_conforming_strings = off",
            "SET lock_timeout = 1",
            "SET idle_in_transaction_session_timeout = 1",
            "SET statement_timeout = 1",  # last: it would end the others on a busy machine
        ):
            self._connection.execute(statement)
        super().begin()


def test_no_transaction_relies_on_what_its_session_is_set_to(postgres_url: str) -> None:
    """
    As through a transaction pooler: nothing lands in the schema that somebody else has named.
    """
    count = "SELECT (SELECT COUNT(*) FROM jobs), (SELECT COUNT(*) FROM predictions)"
    with (
        closing(PostgresDatabase(postgres_url, "decoy", create=True)) as decoy,
        closing(_Pooled(postgres_url, "behind a pooler", create=True)) as pooled,
        closing(PostgresDatabase(postgres_url, "behind a pooler", read_only=True)) as reader,
    ):
        books = Books.opened(pooled, jobs=_JOBS)
        for _ in range(3):
            _buy_and_settle(pooled, books, range(1, _JOBS + 1), [DAY])
        budgets.audit(pooled)
        assert fetch(reader, count) == fetch(pooled, count) == [(_JOBS, 3 * _JOBS)]
        assert fetch(decoy, count) == [(0, 0)]


def test_a_pooled_reader_writes_nothing_either(postgres_url: str) -> None:
    with (
        closing(PostgresDatabase(postgres_url, "decoy", create=True)),
        _two_ledgers(postgres_url, "pooled reader"),
        closing(_Pooled(postgres_url, "pooled reader", read_only=True)) as reader,
    ):
        with pytest.raises(LedgerError, match="read-only"):
            fetch(reader, "DELETE FROM jobs")
        assert fetch(reader, "SELECT COUNT(*) FROM jobs") == [(2 * _JOBS,)]


def test_a_reader_with_select_rights_alone_reads(postgres_url: str) -> None:
    with (
        _two_ledgers(postgres_url, "for auditors") as (_, _, books),
        psycopg.connect(postgres_url, autocommit=True) as server,
    ):
        server.execute("CREATE ROLE auditor LOGIN")
        server.execute('GRANT USAGE ON SCHEMA "for auditors" TO auditor')
        server.execute('GRANT SELECT ON ALL TABLES IN SCHEMA "for auditors" TO auditor')
        url = f"{postgres_url}&user=auditor"
        with closing(PostgresDatabase(url, "for auditors", read_only=True)) as reader:
            assert len(budgets.read_lines(reader, books.run.run_id, DAY)) == 3
            budgets.audit(reader)


def test_a_run_needs_no_right_to_make_schemas_where_its_dataset_is_there(
    postgres_url: str,
) -> None:
    with (
        _two_ledgers(postgres_url, "for clerks"),
        psycopg.connect(postgres_url, autocommit=True) as server,
    ):
        server.execute("CREATE ROLE clerk LOGIN")
        for schema in ("for clerks", "fluxbatch"):
            server.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO clerk')
            server.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO clerk')
        url = f"{postgres_url}&user=clerk"
        with closing(PostgresDatabase(url, "for clerks", create=True)) as db:
            assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(2 * _JOBS,)]
        with pytest.raises(ConfigError, match='GRANT CREATE ON DATABASE "postgres" TO "clerk"'):
            PostgresDatabase(url, "for nobody", create=True)


def test_a_writer_that_stands_still_inside_a_transaction_lets_go(postgres_url: str) -> None:
    """
    A machine that is cut off there holds the others up for two seconds, not for ever.
    """
    with _two_ledgers(postgres_url, "cut off") as (one, other, books):
        one.begin()
        budgets.lock_lines(one, books.run.run_id, DAY)
        other.begin()
        assert len(budgets.lock_lines(other, books.run.run_id, DAY)) == 3
        other.commit()
        with pytest.raises(DatabaseFailed):
            one.commit()


@pytest.mark.parametrize(
    ("version", "fsync", "synchronous_commit", "words"),
    [
        (130_022, "on", "on", "PostgreSQL 13; 14 or newer"),
        (140_000, "off", "on", "fsync=off: .* set fsync=on"),
        (180_000, "on", "off", "synchronous_commit=off: .* set synchronous_commit=on"),
    ],
)
def test_a_server_that_may_forget_is_refused(
    version: int, fsync: str, synchronous_commit: str, words: str
) -> None:
    assert re.search(words, why_unsafe(version, fsync, synchronous_commit) or "")


@pytest.mark.parametrize("version", [140_000, 160_014, 180_000])
@pytest.mark.parametrize("synchronous_commit", ["on", "local", "remote_write", "remote_apply"])
def test_a_server_that_keeps_its_commits_is_used(version: int, synchronous_commit: str) -> None:
    assert why_unsafe(version, "on", synchronous_commit) is None


def test_a_ledger_is_not_opened_where_commits_may_be_lost(postgres_url: str) -> None:
    """
    Readers may look all the same.
    """
    with (
        _two_ledgers(postgres_url, "forgetful"),
        psycopg.connect(postgres_url, autocommit=True) as server,
    ):
        server.execute("CREATE ROLE hasty SUPERUSER LOGIN")
        server.execute("ALTER ROLE hasty SET synchronous_commit = off")
        url = f"{postgres_url}&user=hasty"
        with pytest.raises(ConfigError, match=r"'forgetful' cannot be used: .*commit=off"):
            PostgresDatabase(url, "forgetful")
        with closing(PostgresDatabase(url, "forgetful", read_only=True)) as reader:
            assert fetch(reader, "SELECT COUNT(*) FROM jobs") == [(2 * _JOBS,)]


_SECRET = "s3cr3tw0rd"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql:/me:{_SECRET}@127.0.0.1:1/db",
        f"postgresql//me:{_SECRET}@127.0.0.1:1/db",
        f"postgres:me:{_SECRET}@127.0.0.1:1/db",
        f"http://me:{_SECRET}@127.0.0.1:1/db",
        f"http://me:{_SECRET}@127.0.0.1:1/db?sslmode=require",
        f" postgresql://me:{_SECRET}@127.0.0.1:1/db",
        f"me:{_SECRET}@127.0.0.1",
        _SECRET,
        f"postgresql://me:a/{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:12/{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:12?{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:a?{_SECRET}=b@127.0.0.1:1/db",
        f"postgresql://me:a@{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me@{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{_SECRET}:127.0.0.1:1/db",
        f"postgresql://me:{_SECRET}/db",
        f"postgresql://me:[{_SECRET}@127.0.0.1:1/db",
        f"postgresql://[me:{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:%zz{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:%00{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{_SECRET}@127.0.0.1:port/db",
        f"postgresql://me:{_SECRET}@127.0.0.1:99999/db",
        f"postgresql://me:{_SECRET}@127.0.0.1:1/db?sslmod=require",
        f"postgresql://me:{_SECRET}@127.0.0.1:1/db?sslmode=sometimes",
        f"postgresql://me:{_SECRET}@127.0.0.1:1/db?connect_timeout=soon",
        f"postgresql://me:{_SECRET}@127.0.0.1:1/db\0",
        f"postgresql://me:{_SECRET}\ud800@127.0.0.1:1/db",
        f"postgresql://me:{_SECRET}\n@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=me&password={_SECRET}",
        f"postgresql://127.0.0.1:1/db?user=me&pasword={_SECRET}",
        f"postgresql://127.0.0.1:1/db?user=me&password={_SECRET}&password",
        f"host=127.0.0.1 port=1 password={_SECRET}",
        f"host=127.0.0.1 port=1 password=a {_SECRET}",
        f"host=127.0.0.1 port=1 password='{_SECRET}",
        f"host=127.0.0.1 port=1 pasword={_SECRET}",
        f"postgresql://me:{_SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{_SECRET}@no-such-host.invalid/db",
    ],
)
def test_no_address_that_cannot_be_used_is_told_with_its_password(url: str) -> None:
    """
    Neither in the words, nor in the cause that a traceback would show.
    """
    with pytest.raises(FluxbatchError, match="cannot open the ledger 'photos'") as caught:
        PostgresDatabase(url, "photos")
    told: BaseException | None = caught.value
    while told is not None:
        assert _SECRET not in str(told)
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)


@pytest.mark.parametrize(
    "options",
    [f"-c {_SECRET}", f"-c {_SECRET}=on", f"-c geqo={_SECRET}", f"--{_SECRET}=1"],
)
def test_options_that_the_server_refuses_are_not_repeated(postgres_url: str, options: str) -> None:
    url = f"{postgres_url}&options={quote(options)}"
    with pytest.raises(ConfigError, match=r"ledger 'photos': .*'options'") as caught:
        PostgresDatabase(url, "photos")
    assert _SECRET not in str(caught.value)


@pytest.mark.parametrize("option", ["sslcert", "sslkey", "sslrootcert"])
def test_what_only_a_misplaced_password_could_be_is_blacked_out(option: str) -> None:
    url = f"postgresql://me@127.0.0.1:1/db?sslmode=require&sslcert=/dev/null&{option}={_SECRET}"
    with pytest.raises(FluxbatchError, match="cannot open the ledger 'photos'") as caught:
        PostgresDatabase(url, "photos")
    assert _SECRET not in str(caught.value)


def test_no_refusal_proposes_a_password_in_the_url() -> None:
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        PostgresDatabase("host=127.0.0.1 bad", "photos")
    assert "USER:PASSWORD" not in str(caught.value)


def test_a_password_that_the_server_repeats_is_blacked_out(postgres_url: str) -> None:
    url = f"{postgres_url}&dbname=none&password=none"
    with pytest.raises(LedgerError, match=r"database .\*\*\*. does not exist"):
        PostgresDatabase(url, "photos")
