"""A ledger in PostgreSQL: one schema of one database, behind the protocol of `database`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.ledger.db.schema import SCHEMA_VERSION
from fluxbatch.ledger.db.sql import Params, SqlDialect, Statement

if TYPE_CHECKING:
    import psycopg
from fluxbatch.ledger.db.database import _NONE, DbRow, schema_statements


class PostgresDatabase:
    """A ledger in a schema of its own, over one connection that never reconnects."""

    name: SqlDialect = "postgresql"

    def __init__(self, url: str, dataset: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise LedgerError(
                "a PostgreSQL ledger needs psycopg: pip install 'fluxbatch[postgres]'"
            ) from None
        self._driver = psycopg
        self._at_commit: dict[Statement, list[Params]] = {}
        self._dataset = dataset
        try:
            self._connection: psycopg.Connection[DbRow] = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=10,
                keepalives=1,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
            )
        except psycopg.Error as exc:
            raise LedgerError(f"cannot open the ledger {dataset!r}: {exc}") from exc
        try:
            self._open()
        except BaseException as exc:
            self._connection.close()
            if isinstance(exc, psycopg.Error):
                raise LedgerError(f"cannot open the ledger {dataset!r}: {exc}") from exc
            raise

    def _open(self) -> None:
        from psycopg import sql

        schema = sql.Identifier(self._dataset)
        self._connection.execute("SET statement_timeout = '5s'")
        self._connection.execute("BEGIN")
        # Two processes may open a new ledger at once; one of them makes it.
        self._connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self._dataset])
        self._connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        self._connection.execute(sql.SQL("SET search_path TO {}").format(schema))
        found = self._connection.execute("SELECT to_regclass('ledger_version')").fetchone()
        if found == (None,):
            for text in schema_statements("postgresql"):
                self._connection.execute(text)
            self._connection.execute(
                "INSERT INTO ledger_version (version, dataset) VALUES (%s, %s)",
                [SCHEMA_VERSION, token_hex(8)],
            )
        version = self._connection.execute("SELECT version FROM ledger_version").fetchone()
        if version is None or version[0] > SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger {self._dataset!r} has schema {version and version[0]}, this fluxbatch"
                f" knows {SCHEMA_VERSION}; upgrade fluxbatch"
            )
        if version[0] < SCHEMA_VERSION:
            self._migrate(version[0])
        self._connection.execute("COMMIT")
        self.version = SCHEMA_VERSION

    def _migrate(self, version: int) -> None:
        """Within the transaction that looked. It happens whole or not at all; no copy is made."""
        from fluxbatch.ledger.db.migrations import upgrade_statements

        self._connection.execute("SET LOCAL statement_timeout = 0")
        for text in upgrade_statements("postgresql", version):
            self._connection.execute(text)
        self._connection.execute("UPDATE ledger_version SET version = %s", [SCHEMA_VERSION])

    def run(self, statement: Statement, params: Params = _NONE) -> list[DbRow]:
        text, values = statement.prepared("postgresql")
        with self._translated():
            cursor = self._connection.execute(text, values(params))
            return cursor.fetchall() if cursor.description is not None else []

    def insert(self, statement: Statement, params: Params) -> int:
        ((seq,),) = self.run(statement, params)
        return int(seq)

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None:
        text, values = statement.prepared("postgresql")
        with self._translated(), self._connection.cursor() as cursor:
            cursor.executemany(text, map(values, params))

    def run_at_commit(self, statement: Statement, params: Params) -> None:
        self._at_commit.setdefault(statement, []).append(params)

    def begin(self) -> None:
        with self._translated():
            self._connection.execute("BEGIN")

    def take_time(self) -> None:
        with self._translated():
            self._connection.execute("SET LOCAL statement_timeout = 0")

    def commit(self) -> None:
        for statement, params in self._at_commit.items():
            self.run_many(statement, params)
        self._at_commit.clear()
        with self._translated():
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        self._at_commit.clear()
        with self._translated():
            if self._in_transaction():
                self._connection.execute("ROLLBACK")

    def _in_transaction(self) -> bool:
        status = self._driver.pq.TransactionStatus
        return self._connection.info.transaction_status in (status.INTRANS, status.INERROR)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._driver.IntegrityError, self._driver.DataError) as exc:
            raise LedgerError(f"the ledger {self._dataset!r} refuses this: {exc}") from exc
        except self._driver.Error as exc:
            raise DatabaseFailed(f"the ledger {self._dataset!r} failed: {exc}") from exc
