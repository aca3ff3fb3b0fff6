"""A table of the ledger that another session holds: what is said by whoever waits for it."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from fluxbatch.errors import DatabaseFailed, ExitCode
from fluxbatch.ledger.db import postgres_connection
from fluxbatch.ledger.db.postgres import PostgresDatabase
from tests.ledger.support import fetch

_NAME = "held"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connection, "READERS_WAIT_MS", 300)
    monkeypatch.setattr(postgres_connection, "STATEMENT_MS", 900)


@pytest.fixture
def held_url(postgres_url: str) -> str:
    with closing(PostgresDatabase(postgres_url, _NAME, create=True)):
        return postgres_url


def _pid(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    return pid


@pytest.mark.parametrize("table", ["jobs", "ledger_version"])
@pytest.mark.parametrize("read_only", [True, False])
def test_who_waits_for_a_table_in_vain_says_who_holds_it(
    held_url: str, table: str, read_only: bool
) -> None:
    """
    Whether in opening the ledger or later; what ends the other session is proposed.
    """
    with psycopg.connect(held_url, application_name="an admin's tool") as admin:
        admin.execute(f"LOCK TABLE {_NAME}.{table} IN ACCESS EXCLUSIVE MODE")
        with (
            pytest.raises(DatabaseFailed) as caught,
            closing(PostgresDatabase(held_url, _NAME, read_only=read_only)) as db,
        ):
            db.at_one_moment(lambda db: fetch(db, "SELECT COUNT(*) FROM jobs"))
        words = str(caught.value)
        assert f"{table!r} is still locked by another session" in words
        assert f"process {_pid(admin)} of the user 'postgres' (\"an admin's tool\")" in words
        assert words.endswith(f"SELECT pg_terminate_backend({_pid(admin)})")
        assert caught.value.exit_code is ExitCode.ERROR
    with closing(PostgresDatabase(held_url, _NAME, read_only=True)) as db:
        assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(0,)]


def test_a_question_that_takes_too_long_is_not_told_as_a_lock(held_url: str) -> None:
    with (
        closing(PostgresDatabase(held_url, _NAME, read_only=True)) as db,
        pytest.raises(DatabaseFailed, match=r"no answer .* within 0\.9 s: it is busy"),
    ):
        fetch(db, "SELECT pg_sleep(5)")
