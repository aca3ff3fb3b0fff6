"""A database's user without the rights that a ledger takes: what is said, and what is made."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from fluxbatch.errors import ConfigError, ExitCode, ServerRefuses
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.sharing.account_datasets import readable_datasets
from fluxbatch.ledger.sharing.lanes import creates_of_other_datasets, take_lanes
from fluxbatch.ledger.sharing.workers import join
from tests.ledger.support import BUYER, Books, fetch
from tests.support.postgres_server import PostgresServer, postgres_server, server_folder

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> str:
    """The URL of an empty database; `postgres` owns it."""
    name = f"db{next(_numbers)}"
    _ask(server.url, f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


def _ask(url: str, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = [connection.execute(statement) for statement in statements][-1]
        return found.fetchall() if found.description else []


def _user(url: str) -> tuple[str, str]:
    """A new role without any right, and its URL."""
    name = f"user{next(_numbers)}"
    _ask(url, f"CREATE ROLE {name} LOGIN")
    return name, url.replace("postgres@", f"{name}@")


def _make(url: str, dataset: str) -> None:
    PostgresDatabase(url, dataset, create=True).close()


def _refused(url: str, dataset: str, *, read_only: bool = False, create: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        PostgresDatabase(url, dataset, read_only=read_only, create=create)
    return str(caught.value)


def _obey(url: str, words: str) -> None:
    """Run the statements that a refusal asks for."""
    _ask(url, *words.rpartition("run:  ")[2].split("; "))


def test_who_may_read_the_tables_and_not_use_the_schema_is_told_so(database: str) -> None:
    """
    The dataset that is there is not said to be missing; what is proposed is enough.
    """
    _make(database, "SIX")
    user, theirs = _user(database)
    _ask(database, f'GRANT SELECT ON ALL TABLES IN SCHEMA "SIX" TO {user}')
    words = _refused(theirs, "SIX", read_only=True)
    assert re.search(f"'{user}' may not read the dataset 'SIX'; let 'postgres', its owner", words)
    _obey(database, words)
    with closing(PostgresDatabase(theirs, "SIX", read_only=True)) as db:
        assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(0,)]


def test_who_may_use_the_schema_and_not_read_the_tables_is_told_so(database: str) -> None:
    _make(database, "SIX")
    user, theirs = _user(database)
    _ask(database, f'GRANT USAGE ON SCHEMA "SIX" TO {user}')
    words = _refused(theirs, "SIX", read_only=True)
    assert "may not read the dataset 'SIX'" in words
    _ask(database, f'GRANT SELECT ON "SIX".ledger_version TO {user}')
    with (
        closing(PostgresDatabase(theirs, "SIX", read_only=True)) as db,
        pytest.raises(ConfigError, match=r"permission denied for .* let the owner .*GRANT"),
    ):
        fetch(db, "SELECT COUNT(*) FROM jobs")


def test_who_may_make_no_schema_is_told_who_may(database: str) -> None:
    _, theirs = _user(database)
    words = _refused(theirs, "SIX", create=True)
    assert re.search("may not make the dataset 'SIX'.* let 'postgres', its owner, run:", words)
    _obey(database, words)
    _make(theirs, "SIX")


def test_a_second_user_of_a_database_is_told_whose_the_shared_schema_is(database: str) -> None:
    """
    Nothing of a new dataset is there after the refusal.
    """
    first, one = _user(database)
    _, other = _user(database)
    _ask(database, f"GRANT CREATE ON DATABASE {database.rpartition('/')[2]} TO PUBLIC")
    _make(one, "ONE")
    words = _refused(other, "OTHER", create=True)
    assert re.search(
        f"may not write to the schema 'fluxbatch', which all .* let '{first}', its owner", words
    )
    assert _ask(database, "SELECT 1 FROM pg_namespace WHERE nspname = 'OTHER'") == []
    _obey(one, words)
    _make(other, "OTHER")


def test_the_dataset_of_another_user_is_written_to_with_their_leave(database: str) -> None:
    _make(database, "SIX")
    user, theirs = _user(database)
    for _ in range(2):  # the dataset, then what all share
        words = _refused(theirs, "SIX", create=True)
        assert f"'{user}' may not write to the" in words
        assert "let 'postgres', its owner" in words
        _obey(database, words)
    _make(theirs, "SIX")
    _ask(database, f'REVOKE DELETE ON "SIX".claims FROM {user}')
    assert "may not write to the dataset 'SIX'" in _refused(theirs, "SIX", create=True)


def test_no_ledger_is_made_in_a_schema_that_is_somebody_elses(database: str) -> None:
    _ask(database, 'CREATE SCHEMA "SIX"')
    user, theirs = _user(database)
    _ask(database, f"GRANT CREATE ON DATABASE {database.rpartition('/')[2]} TO {user}")
    assert "may not write to the dataset 'SIX'" in _refused(theirs, "SIX", create=True)
    _ask(database, f'GRANT USAGE ON SCHEMA "SIX" TO {user}')
    words = _refused(theirs, "SIX", create=True)
    assert "may not make a ledger in the schema 'SIX'" in words
    _obey(database, words)
    _make(theirs, "SIX")


def _datasets_of_two(database: str, account: str) -> tuple[str, str]:
    """`MINE` of a user whose URL is answered, and `THEIRS`, which has used *account*."""
    with closing(PostgresDatabase(database, "THEIRS", create=True)) as theirs:
        books = Books.opened(theirs, jobs=1)
        books.buy(1)
        fetch(theirs, "DELETE FROM fluxbatch.lanes")
        fetch(theirs, "DELETE FROM fluxbatch.lane_datasets")
        take_lanes(theirs, "theirs", [account], 1)
    user, url = _user(database)
    _ask(
        database,
        f"GRANT CREATE ON DATABASE {database.rpartition('/')[2]} TO {user}",
        f"GRANT USAGE ON SCHEMA fluxbatch TO {user}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA fluxbatch TO {user}",
    )
    return user, url


def test_a_dataset_of_other_accounts_need_not_be_readable(database: str) -> None:
    _, url = _datasets_of_two(database, "elsewhere")
    with closing(PostgresDatabase(url, "MINE", create=True)) as db:
        join(db, "me", "run", [BUYER.account])
        assert creates_of_other_datasets(db, [BUYER.account]) == []


def test_a_dataset_of_the_same_account_must_be_readable_before_anything_is_bought(
    database: str,
) -> None:
    """
    Whoever joins is refused: what the other has made counts against the same limits.
    """
    user, url = _datasets_of_two(database, BUYER.account)
    with closing(PostgresDatabase(url, "MINE", create=True)) as db:
        with pytest.raises(ConfigError, match=f"'{user}' may not read .*'THEIRS'") as caught:
            join(db, "me", "run", [BUYER.account])
        assert fetch(db, "SELECT COUNT(*) FROM workers") == [(0,)]
        _obey(database, str(caught.value))
        join(db, "me", "run", [BUYER.account])
        assert readable_datasets(db, [BUYER.account]) == ["THEIRS"]
        assert len(creates_of_other_datasets(db, [BUYER.account])) == 1


def test_a_standby_takes_readers_alone(server: PostgresServer) -> None:
    """
    Whoever writes is told to name the primary, with exit 2.
    """
    _make(server.url, "followed")
    with server_folder() as folder:
        standby = PostgresServer(folder)
        standby.copy_of(server)
        standby.start()
        try:
            for create in (True, False):
                with pytest.raises(ServerRefuses, match="name the primary's address") as caught:
                    PostgresDatabase(standby.url, "followed", create=create)
                assert caught.value.exit_code is ExitCode.USAGE
            with closing(PostgresDatabase(standby.url, "followed", read_only=True)) as db:
                assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(0,)]
        finally:
            standby.stop("immediate")


def test_who_has_no_password_is_told_where_it_belongs(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    rules = server.data / "pg_hba.conf"
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    _ask(server.url, "CREATE ROLE guarded LOGIN PASSWORD 's3cr3tw0rd'", "SELECT pg_reload_conf()")
    url = server.url.replace("postgres@", "guarded@")
    with pytest.raises(ServerRefuses, match=r"of the user 'guarded'.* PGPASSWORD.*pgpass") as none:
        PostgresDatabase(url, "night")
    assert none.value.exit_code is ExitCode.USAGE
    assert "fe_sendauth" not in str(none.value)
    monkeypatch.setenv("PGPASSWORD", "s3cr3tw0rd-not")
    with pytest.raises(ServerRefuses, match="wrong password") as wrong:
        PostgresDatabase(url, "night")
    assert "s3cr3tw0rd" not in str(wrong.value)
