"""The two databases of every ledger test: a file, and a schema of a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from tests.ledger.support import Books
from tests.support.postgres import serve_postgres

Connect = Callable[[], Database]
_names = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Opens one ledger, as often as it is called."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield lambda: stack.enter_context(closing(SqliteDatabase(tmp_path / "ledger.sqlite")))
        else:
            url: str = request.getfixturevalue("postgres_url")
            name = f"dataset {next(_names)}"
            yield lambda: stack.enter_context(closing(PostgresDatabase(url, name, create=True)))


@pytest.fixture
def database(connect: Connect) -> Database:
    return connect()


@pytest.fixture
def books(database: Database) -> Books:
    """Three jobs of one manifest, and an open run without caps."""
    return Books.opened(database, jobs=3)
