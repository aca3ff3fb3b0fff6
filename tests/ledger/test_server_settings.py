"""A ledger on a server whose settings are not what one expects: encodings, texts, time limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import text

from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sql import Statement
from tests.ledger.support import Books, fetch
from tests.support.postgres_server import PostgresServer, postgres_server

_TEXT = "a cat's \\u00e9 é 火箭 🚀 'quote' C:\\new %s"


@pytest.fixture(scope="module")
def newest() -> Iterator[PostgresServer]:
    """A server that may end whole transactions."""
    with postgres_server(18) as server:
        yield server


def _role(url: str, name: str, *settings: str) -> str:
    """The URL of a new role for which these hold."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        for setting in settings:
            server.execute(f"ALTER ROLE {name} SET {setting}")
    return url.replace("postgres@", f"{name}@") if "?" not in url else f"{url}&user={name}"


def _database(url: str, name: str, encoding: str) -> str:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        )
    return f"{url}&dbname={name}"


def _keeps_a_text(url: str, name: str) -> None:
    """What is written there is read again: as a parameter, and as a part of one message."""
    echo = Statement(lambda _: text("SELECT CAST(:said AS text)"))
    with closing(PostgresDatabase(url, name, create=True)) as db:
        Books.opened(db, jobs=2)
        fetch(db, "UPDATE rows SET meta_json = :said", said=_TEXT)
        assert fetch(db, "SELECT DISTINCT meta_json FROM rows") == [(_TEXT,)]
        assert db.run_all([(echo, {"said": _TEXT})]) == [[(_TEXT,)]]
        asked = json.dumps({"prompt": _TEXT})
        fetch(db, "UPDATE jobs SET input_json = :asked", asked=asked)
        assert fetch(db, "SELECT DISTINCT prompt FROM results") == [(_TEXT,)]


@pytest.mark.parametrize(
    "setting",
    ["client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'",
     "standard_conforming_strings = off", "backslash_quote = off"],
)  # fmt: skip
def test_what_a_role_is_set_to_changes_no_text(postgres_url: str, setting: str) -> None:
    name = "".join(sign for sign in setting if sign.isalnum()).lower()
    _keeps_a_text(_role(postgres_url, name, setting), f"é {name}")


def test_what_the_environment_says_of_encodings_changes_no_text(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    _keeps_a_text(postgres_url, "by the environment")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("name", ["night", "nuit d'été 🚀"])
def test_a_database_that_lacks_letters_is_refused(
    postgres_url: str, encoding: str, name: str
) -> None:
    """
    Nothing is made there, and the words say how to make one that can be used.
    """
    url = _database(postgres_url, f"{encoding}_{len(name)}".lower(), encoding)
    for read_only in (False, True):
        with pytest.raises(ConfigError, match="ENCODING 'UTF8' TEMPLATE template0") as caught:
            PostgresDatabase(url, name, create=True, read_only=read_only)
        assert encoding in str(caught.value)
    with psycopg.connect(url) as server:
        assert server.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"
                              " AND nspname NOT IN ('public', 'information_schema')"
                              ).fetchall() == []  # fmt: skip


def test_no_transaction_is_ended_by_what_a_role_is_set_to(newest: PostgresServer) -> None:
    url = _role(newest.url, "hurried", "transaction_timeout = '300ms'")
    with (
        closing(PostgresDatabase(url, "night", create=True)) as db,
        closing(PostgresDatabase(url, "night", read_only=True)) as reader,
    ):
        for one in (db, reader):
            one.begin()
            fetch(one, "SELECT pg_sleep(0.4)")
            assert fetch(one, "SELECT COUNT(*) FROM jobs") == [(0,)]
            one.rollback()
        db.begin_turn()
        fetch(db, "SELECT pg_sleep(0.4)")
        db.commit()
