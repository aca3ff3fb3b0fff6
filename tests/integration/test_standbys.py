"""A real standby behind the ledger's server: who is told that commits do not wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.sharing.standbys import why_standbys_lag
from tests.integration.test_many_machines import again
from tests.kills.sharing import SharedRun
from tests.support.emulator import emulator_process
from tests.support.postgres_server import PostgresServer, postgres_server, server_folder


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """It follows, and may be named as synchronous."""
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.copy_of(primary)
        server.start("hot_standby=on", "cluster_name=second")
        try:
            _follow(primary)
            yield server
        finally:
            with suppress(AssertionError):
                server.stop("immediate")


def _follow(primary: PostgresServer) -> None:
    """Return once the standby streams."""
    ends_s = time.monotonic() + 30
    with psycopg.connect(primary.url, autocommit=True) as connection:
        following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        while connection.execute(following).fetchall() != [(1,)]:
            assert time.monotonic() < ends_s, "the standby does not follow"
            time.sleep(0.02)


def _set(primary: PostgresServer, name: str, value: str) -> None:
    with psycopg.connect(primary.url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")


def _asked(primary: PostgresServer, user: str = "postgres") -> str | None:
    """What a connection of its own is told, once the settings have been read again."""
    url = primary.url.replace("postgres@", f"{user}@")
    with closing(PostgresDatabase(url, "asked", read_only=True)) as db:
        return why_standbys_lag(db)


@pytest.fixture
def asked(primary: PostgresServer) -> None:
    with closing(PostgresDatabase(primary.url, "asked", create=True)):
        pass
    with psycopg.connect(primary.url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY plain" if _has_role(connection) else "CREATE ROLE plain")
        connection.execute("ALTER ROLE plain LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA asked TO plain")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA asked TO plain")


def _has_role(connection: psycopg.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'plain'").fetchall())


def _until(primary: PostgresServer, words: str | None) -> None:
    """The server reads its settings again a little after it was told to."""
    ends_s = time.monotonic() + 30
    while not _is_told(_asked(primary), words):
        assert time.monotonic() < ends_s, (_asked(primary), words)
        time.sleep(0.02)


def _is_told(told: str | None, words: str | None) -> bool:
    return told is None if words is None else told is not None and words in told


@pytest.mark.usefixtures("asked")
def test_without_a_standby_nobody_is_warned(primary: PostgresServer) -> None:
    assert _asked(primary) is None


@pytest.mark.usefixtures("asked", "standby")
def test_commits_that_do_not_wait_for_a_standby_are_told_of(primary: PostgresServer) -> None:
    """
    By whichever setting; also to a user who may not see more than that there is one.
    """
    _until(primary, "synchronous_standby_names is empty")
    assert _is_told(_asked(primary, "plain"), "synchronous_standby_names is empty")
    _set(primary, "synchronous_standby_names", "second")
    _until(primary, None)
    _set(primary, "synchronous_commit", "local")
    _until(primary, "synchronous_commit is local")
    _set(primary, "synchronous_commit", "on")
    _set(primary, "synchronous_standby_names", "")
    _until(primary, "synchronous_standby_names is empty")


@pytest.mark.usefixtures("standby")
def test_a_run_warns_once(primary: PostgresServer, tmp_path: Path) -> None:
    with emulator_process("--speed", "50", "--image-size", "64", dialect="docs") as emulator:
        run = SharedRun(tmp_path, primary, emulator, accounts=1, dataset="warned")
        run.write(3)
        ended = again(run)
    assert ended.code == 0, ended.err
    assert ended.err.count("commits do not wait for its standby") == 1
