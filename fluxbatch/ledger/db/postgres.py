"""A ledger in PostgreSQL: one schema of one database, behind the protocol of `database`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from secrets import token_hex
from typing import TYPE_CHECKING, Self

from fluxbatch.errors import DatabaseFailed, FluxbatchError, LedgerError, TransactionConflict
from fluxbatch.ledger.db import postgres_connection as server
from fluxbatch.ledger.db import postgres_rights
from fluxbatch.ledger.db.held_tables import waited_in_vain
from fluxbatch.ledger.db.row_buffer import RowBuffer, StatementCalls
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.schema import SCHEMA_VERSION
from fluxbatch.ledger.db.sql import Params, SqlDialect, Statement
from fluxbatch.ledger.db.unused_ledger import drop_if_unused

if TYPE_CHECKING:
    import psycopg
from fluxbatch.ledger.db.database import (
    BUSY_MS,
    NO_PARAMS,
    QueryResult,
    lock_failure,
    refuse_newer,
    schema_statements,
)

_CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock detected."""


@cache
def _around_parameters(text: str) -> tuple[bytes, ...]:
    """What stands before, between and after the `%s` of a statement."""
    parts = text.replace("%%", "\0").split("%s")
    return tuple(part.replace("\0", "%").encode() for part in parts)


class PostgresDatabase:
    """A ledger in a schema of its own, over one connection that never reconnects.

    Each statement runs in a transaction that says which schema it is in, so that a pooler may
    give each transaction another session.
    """

    name: SqlDialect = "postgresql"

    def __init__(
        self,
        url: str,
        dataset: str,
        *,
        read_only: bool = False,
        create: bool = False,
        keep_unused: bool = True,
    ) -> None:
        """Without *create* a dataset that is not there is refused: its name may be mistyped.

        With *keep_unused* false, a schema that was made now and holds nothing at the end goes.
        """
        self._dataset = dataset
        self._url = url
        self._reads_only = read_only
        self._is_in_doubt = False
        self.rows = RowBuffer(self)
        self._connection = server.connected(url, dataset)
        self._user = self._connection.info.user
        version = self._connection.info.server_version
        self._start = server.transaction_start(dataset, version, read_only=read_only).as_string()
        self._start_turn = server.turn_start(dataset, version, BUSY_MS).as_string()
        import psycopg

        self._driver = psycopg
        self._cursor = psycopg.ClientCursor(self._connection)
        self._escaping = psycopg.pq.Escaping(self._connection.pgconn)
        try:
            was_made = self._open(read_only=read_only, create=create and not read_only)
            self._is_in_doubt = was_made and not keep_unused
        except BaseException as exc:
            known = self._known(exc) if isinstance(exc, psycopg.Error) else None
            self._connection.close()
            if known is not None:
                raise known from exc
            if isinstance(exc, psycopg.Error):
                is_down = isinstance(exc, psycopg.OperationalError)
                kind = DatabaseFailed if is_down else LedgerError
                raise kind(f"cannot open the ledger {dataset!r}: {exc}") from exc
            raise

    def _open(self, *, read_only: bool, create: bool) -> bool:
        """Answers whether the schema was made for it."""
        how = {"read_only": read_only, "create": create}
        version, was_made = server.begin_opening(self._connection, self._dataset, **how)
        refuse_newer(self._dataset, version)
        if version == 0:
            self._create()
        elif version < SCHEMA_VERSION and not read_only:
            self._migrate(version)
        if not read_only:
            server.make_shared_tables(self._connection)
        self._connection.execute("COMMIT")
        self.version = version if read_only else SCHEMA_VERSION
        return was_made

    def _create(self) -> None:
        for text in schema_statements("postgresql"):
            self._connection.execute(text)
        values = [SCHEMA_VERSION, token_hex(8)]
        self._connection.execute("INSERT INTO ledger_version VALUES (%s, %s)", values)

    def _migrate(self, version: int) -> None:
        """Within the transaction that looked. It happens whole or not at all; no copy is made."""
        from fluxbatch.ledger.db.migrations import upgrade_statements

        server.refuse_workers(self._connection, self._dataset)
        self._connection.execute("SET LOCAL statement_timeout = 0")
        for text in upgrade_statements("postgresql", version):
            self._connection.execute(text)
        self._connection.execute("UPDATE ledger_version SET version = %s", [SCHEMA_VERSION])

    def is_in_place(self) -> bool:
        return True  # the connection ends with the schema it writes to

    def changes_seen(self) -> int | None:
        return None

    def run(self, statement: Statement, params: Params = NO_PARAMS) -> list[DbRow]:
        self.rows.settle()
        text, values = statement.prepared("postgresql")
        with self._translated(), self._transaction():
            cursor = self._connection.execute(text, values(params))
            return cursor.fetchall() if cursor.description is not None else []

    def at_one_moment(self, query: Callable[[Self], QueryResult]) -> QueryResult:
        """In one transaction: many write here, and each statement costs fewer round trips."""
        self.begin()
        try:
            return query(self)
        finally:
            self.rollback()

    def insert(self, statement: Statement, params: Params) -> int:
        ((seq,),) = self.run(statement, params)
        return int(seq)

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None:
        self.rows.settle()
        text, values = statement.prepared("postgresql")
        with (
            self._translated(),
            self._transaction(),
            self._connection.cursor() as cursor,
        ):
            cursor.executemany(text, map(values, params))
            # The driver sends these as a pipeline, after which the server, until it gets another
            # message, lets a transaction stand idle for as long as it likes.
            self._connection.execute("SELECT 1")

    def is_in_transaction(self) -> bool:
        return self._connection.info.transaction_status != self._driver.pq.TransactionStatus.IDLE

    def run_all(
        self, calls: StatementCalls, *, start: str = "", end: str = ""
    ) -> list[list[DbRow]]:
        """One message of the simple protocol, in the transaction at work or in one of its own."""
        if not start and not self.is_in_transaction():
            start, end = self._start, "COMMIT"
        with self._translated():
            texts = [start.encode(), *(self._words(*call) for call in calls), end.encode()]
            try:
                cursor = self._cursor.execute(b"; ".join(filter(None, texts)))
            except BaseException:
                if start:
                    self.rollback()
                raise
            found = [one.fetchall() if one.description else [] for one in cursor.results()]
        last = len(found) - bool(end)
        return found[last - len(calls) : last]

    def _words(self, statement: Statement, params: Params) -> bytes:
        """With its parameters in it. A group's rows are one long text, which the driver's own
        `mogrify` copies four times more: a tenth of what a group costs."""
        text, values = statement.prepared("postgresql")
        parts = _around_parameters(text)
        found = [self._literal(value) for value in values(params)]
        pairs = zip(parts, [*found, b""], strict=True)
        return b"".join(piece for pair in pairs for piece in pair)

    def _literal(self, value: object) -> bytes:
        if isinstance(value, str):
            return self._escaping.escape_literal(value.encode())
        return self._cursor.mogrify("%s", [value]).encode()

    def begin(self) -> None:
        self.rows.begin()
        with self._translated():
            self._connection.execute(self._start)

    def begin_turn(self) -> None:
        self.rows.begin()
        self.rows.read_ahead(self._start_turn)

    def take_time(self) -> None:
        with self._translated():
            self._connection.execute(server.MUCH_TIME)

    def commit(self) -> None:
        self.run_all(self.rows.take_all(), end="COMMIT")

    def rollback(self) -> None:
        self.rows.clear()
        status = self._driver.pq.TransactionStatus
        with self._translated():
            if self._connection.info.transaction_status in (status.INTRANS, status.INERROR):
                self._connection.execute("ROLLBACK")

    def checkpoint(self) -> bool:
        return True  # the server's own affair

    def close(self) -> None:
        if self._is_in_doubt:
            with suppress(FluxbatchError, self._driver.Error):  # then it stays
                self.rollback()
                drop_if_unused(self._connection, self._dataset, self._start_turn)
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """The one at work, or one for this call alone."""
        if self.is_in_transaction():
            yield
            return
        self._connection.execute(self._start)
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as exc:
            raise self._error(exc) from exc

    def _error(self, exc: psycopg.Error) -> FluxbatchError:
        if (known := self._known(exc)) is not None:
            return known
        ours = (self._driver.IntegrityError, self._driver.DataError, self._driver.ProgrammingError)
        if isinstance(exc, ours):
            return LedgerError(f"the ledger {self._dataset!r} refuses this: {exc}")
        if exc.sqlstate in _CONFLICTS:
            return TransactionConflict(f"the ledger {self._dataset!r} failed: {exc}")
        return DatabaseFailed(f"the ledger {self._dataset!r} failed: {exc}")

    def _known(self, exc: psycopg.Error) -> FluxbatchError | None:
        """What has words of its own: a right that is missing, another session that was in the
        way."""
        errors = self._driver.errors
        if isinstance(exc, errors.InsufficientPrivilege):
            return postgres_rights.denied(self._user, self._dataset, exc)
        if isinstance(exc, errors.LockNotAvailable) and not self._reads_only:
            return DatabaseFailed(lock_failure(repr(self._dataset), BUSY_MS))
        if isinstance(exc, errors.LockNotAvailable | errors.QueryCanceled):
            is_lock = isinstance(exc, errors.LockNotAvailable)
            waited_ms = server.READERS_WAIT_MS if is_lock else server.STATEMENT_MS
            return DatabaseFailed(waited_in_vain(self._url, self._dataset, waited_ms))
        return None
