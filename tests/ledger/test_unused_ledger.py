"""A ledger that was made for a run which was then refused: it goes, unless anybody uses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.operations.image_location import KeepImagesAt
from fluxbatch.ledger.sharing.workers import join
from fluxbatch.ledger.writer import commit
from tests.ledger.support import Books

_NAME = "in \\ doubt"


def _is_there(url: str) -> bool:
    with psycopg.connect(url) as server:
        found = server.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [_NAME])
        there = found.fetchone() is not None
        server.execute('DROP SCHEMA IF EXISTS "in \\ doubt" CASCADE')
    return there


def _in_doubt(url: str) -> PostgresDatabase:
    return PostgresDatabase(url, _NAME, create=True, keep_unused=False)


def test_a_ledger_in_which_nothing_was_written_goes(postgres_url: str) -> None:
    """
    Also where a transaction was open, as after an error.
    """
    for leaves_open in (False, True):
        db = _in_doubt(postgres_url)
        if leaves_open:
            db.begin()
        db.close()
        assert not _is_there(postgres_url)


@pytest.mark.parametrize(
    "use",
    [
        lambda db: Books.opened(db, jobs=1),
        lambda db: join(db, "another", "run"),
        lambda db: commit(db, KeepImagesAt("s3://bucket/pictures")),
    ],
)
def test_a_ledger_that_anybody_uses_stays(
    postgres_url: str, use: Callable[[PostgresDatabase], object]
) -> None:
    """
    Whoever it is: its maker, or another process that came meanwhile.
    """
    with closing(_in_doubt(postgres_url)), closing(_in_doubt(postgres_url)) as other:
        use(other)
    assert _is_there(postgres_url)


def test_a_ledger_that_somebody_is_writing_to_stays(postgres_url: str) -> None:
    """
    What is not committed yet is not seen, but holds the tables.
    """
    db = _in_doubt(postgres_url)
    with psycopg.connect(postgres_url) as other:
        other.execute(
            'INSERT INTO "in \\ doubt".workers (id, role, host, pid, version, accounts)'
            " VALUES ('another', 'run', 'elsewhere', 1, '0.2.0', '[]')"
        )
        db.close()
        other.commit()
    assert _is_there(postgres_url)


def test_a_ledger_that_was_there_before_stays(postgres_url: str) -> None:
    with closing(PostgresDatabase(postgres_url, _NAME, create=True)):
        pass
    with closing(_in_doubt(postgres_url)):
        pass
    assert _is_there(postgres_url)


def test_a_schema_that_somebody_made_beforehand_stays(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute('CREATE SCHEMA "in \\ doubt"')
    with closing(_in_doubt(postgres_url)):
        pass
    assert _is_there(postgres_url)


def test_a_connection_that_is_gone_is_closed_all_the_same(postgres_url: str) -> None:
    with closing(_in_doubt(postgres_url)), psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
    assert _is_there(postgres_url)
