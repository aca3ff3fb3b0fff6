"""One connection to one ledger, SQLite or PostgreSQL behind the same few calls.

Owns opening (pragmas, the schema's version, what kind of disk it lies on) and the
translation of what a driver raises. A newer schema is refused, an older one migrated (a
reader takes it as it is), an empty database gets the tables. Knows no table by name and
decides nothing about jobs or money.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Protocol, Self, TypeVar

from sqlalchemy.schema import CreateIndex, CreateTable

from fluxbatch.errors import LedgerError
from fluxbatch.ledger.db.rows import DbRow, Rows
from fluxbatch.ledger.db.schema import SCHEMA_VERSION, metadata
from fluxbatch.ledger.db.sql import Params, SqlDialect, Statement, dialect_of
from fluxbatch.ledger.db.views import view_statements

QueryResult = TypeVar("QueryResult")

NO_PARAMS: Params = {}
BUSY_MS = 10_000
CHECKPOINT_BUSY_MS = 1_000


class Database(Protocol):
    """What operations and queries run on. Not for two threads at once.

    Raises `DatabaseFailed` where disk, server or a lock failed, and `LedgerError` where one
    statement broke a rule of the schema: that is its operation's fault alone.
    """

    name: SqlDialect

    version: int
    """Of its schema; below `SCHEMA_VERSION` only where a reader found an older one."""

    @property
    def rows(self) -> Rows:
        """What is read and written by its key, perhaps with much of its like."""
        ...

    def is_in_place(self) -> bool:
        """Whether what is written is found again by whoever opens the ledger next."""
        ...

    def changes_seen(self) -> int | None:
        """A number that is another one once another connection has committed; None where nobody
        can tell."""
        ...

    def run(self, statement: Statement, params: Params = NO_PARAMS) -> list[DbRow]: ...

    def at_one_moment(self, query: Callable[[Self], QueryResult]) -> QueryResult:
        """Answer a reader's *query* of several statements as of one moment, where that is cheap."""
        ...

    def insert(self, statement: Statement, params: Params) -> int:
        """Run an `insert_numbered` statement; answers the new row's `seq`."""
        ...

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None: ...

    def begin(self) -> None: ...

    def begin_turn(self) -> None:
        """Begin, and be the only one to change jobs and money until the commit.

        The first lock of all: two groups may want the same rows in another order.
        """
        ...

    def take_time(self) -> None:
        """Let the rest of this transaction take as long as a million rows need."""
        ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def checkpoint(self) -> bool:
        """Leave the ledger as one whole file, where it is one; False where a reader is in the
        way."""
        ...

    def close(self) -> None: ...


def refuse_newer(name: str, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {name!r} has schema {version}, this fluxbatch knows {SCHEMA_VERSION};"
            " upgrade fluxbatch"
        )


def lock_failure(name: str, busy_ms: int) -> str:
    return (
        f"the ledger {name} was locked by another program for more than {busy_ms / 1000:g} s;"
        " close what has it open for writing, then run again"
    )


def schema_statements(name: SqlDialect) -> Sequence[str]:
    """The whole schema as text, in order."""
    dialect = dialect_of(name)
    tables = metadata.sorted_tables
    if name == "postgresql":
        for index in chain.from_iterable(table.indexes for table in tables):
            where = index.dialect_options["sqlite"]["where"]
            index.dialect_options["postgresql"]["where"] = where
    return [
        *(str(CreateTable(table).compile(dialect=dialect)) for table in tables),
        *(
            str(CreateIndex(index).compile(dialect=dialect))
            for table in tables
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ),
        *view_statements(name),
    ]
