"""A ledger in one SQLite file, behind the protocol of `database`."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Self

from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.infra.open_databases import database_closed, database_opened, identity
from fluxbatch.ledger.db.backup import back_up
from fluxbatch.ledger.db.database import (
    BUSY_MS,
    CHECKPOINT_BUSY_MS,
    NO_PARAMS,
    QueryResult,
    lock_failure,
    refuse_newer,
    schema_statements,
)
from fluxbatch.ledger.db.network_disk import refuse_network_disk
from fluxbatch.ledger.db.rows import DbRow, FileRows
from fluxbatch.ledger.db.schema import SCHEMA_VERSION
from fluxbatch.ledger.db.sql import Params, SqlDialect, Statement

_SWITCH_AGAIN_S = 0.01


class SqliteDatabase:
    """A ledger in one file, write-ahead logged, every commit on the disk before it is answered."""

    name: SqlDialect = "sqlite"

    def __init__(self, path: Path, *, read_only: bool = False, busy_ms: int = BUSY_MS) -> None:
        self.path = path
        self._busy_ms = busy_ms
        self.rows = FileRows(self)
        if not read_only:
            refuse_network_disk(path.parent)
        with self._translated("cannot open the ledger {path}: {cause}"):
            self._connection = _connect(path, busy_ms, read_only=read_only)
            try:
                self._open(read_only=read_only)
            except BaseException:
                self._connection.close()
                raise
        self._file = identity(path)
        self._found_in_place: bool | None = None
        self._place: Path | None = database_opened(path)

    def _open(self, *, read_only: bool) -> None:
        self.version = version = self._version()
        refuse_newer(str(self.path), version)
        if read_only:
            if version == 0:
                raise LedgerError(f"{str(self.path)!r} is not a ledger, or it was never written")
            return
        self._switch_to_wal()
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.execute("PRAGMA cache_size = -16000")
        if version == 0:
            self._create()
        elif version < SCHEMA_VERSION:
            self._migrate()
        self.version = SCHEMA_VERSION

    def _switch_to_wal(self) -> None:
        """Wait here for another that makes the same new file: SQLite answers "locked" at once."""
        until_s = time.monotonic() + self._busy_ms / 1_000
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
                    raise
            time.sleep(_SWITCH_AGAIN_S)

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _create(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        if self._version() == 0:  # nobody was quicker
            for text in schema_statements("sqlite"):
                self._connection.execute(text)
            self._connection.execute(
                "INSERT INTO ledger_version (version, dataset) VALUES (?, ?)",
                (SCHEMA_VERSION, token_hex(8)),
            )
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _migrate(self) -> None:
        from fluxbatch.ledger.db.migrations import upgrade_statements

        self._connection.execute("BEGIN IMMEDIATE")
        if (version := self._version()) < SCHEMA_VERSION:  # nobody was quicker
            try:
                back_up(self.path, version)
            except OSError as exc:
                raise LedgerError(
                    f"cannot copy the ledger {str(self.path)!r} before its schema changes: {exc}"
                ) from exc
            for text in upgrade_statements("sqlite", version):
                self._connection.execute(text)
            self._connection.execute("UPDATE ledger_version SET version = ?", (SCHEMA_VERSION,))
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def is_in_place(self) -> bool:
        """Looked at once a transaction: its operations stand or fall together."""
        if not self._connection.in_transaction:
            return identity(self.path) == self._file
        if self._found_in_place is None:
            self._found_in_place = identity(self.path) == self._file
        return self._found_in_place

    def changes_seen(self) -> int | None:
        with self._translated():
            seen: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return seen

    def run(self, statement: Statement, params: Params = NO_PARAMS) -> list[DbRow]:
        self.rows.settle()
        return self.fetch(statement, params)

    def fetch(self, statement: Statement, params: Params) -> list[DbRow]:
        """For `rows`, which know what must not wait."""
        text, values = statement.prepared("sqlite")
        try:
            return self._connection.execute(text, values(params)).fetchall()
        except sqlite3.Error as exc:
            raise self._error(exc) from exc

    def at_one_moment(self, query: Callable[[Self], QueryResult]) -> QueryResult:
        return query(self)  # one process writes, and it is this one or a run that is watched

    def insert(self, statement: Statement, params: Params) -> int:
        self.rows.settle()
        text, values = statement.prepared("sqlite")
        try:
            seq = self._connection.execute(text, values(params)).lastrowid
        except sqlite3.Error as exc:
            raise self._error(exc) from exc
        assert seq is not None
        return seq

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None:
        self.rows.settle()
        text, values = statement.prepared("sqlite")
        with self._translated():
            self._connection.executemany(text, map(values, params))

    def begin(self) -> None:
        self.rows.clear()
        self._found_in_place = None
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
        self.rows.begin()

    def begin_turn(self) -> None:
        self.begin()

    def take_time(self) -> None:
        pass  # nothing here is timed

    def commit(self) -> None:
        self.rows.settle()
        self.rows.clear()
        with self._translated():
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        self.rows.clear()
        with self._translated():
            if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                self._connection.execute("ROLLBACK")

    def checkpoint(self) -> bool:
        """Fold the write-ahead log into the file; False where a reader held on to it.

        Answered with True, the file alone is complete.
        """
        with self._translated():
            self._connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_BUSY_MS}")
            try:
                answer = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {self._busy_ms}")
        return bool(answer[0] == 0)

    def close(self) -> None:
        self._connection.close()
        if self._place is not None:
            database_closed(self._place)
            self._place = None

    @contextmanager
    def _translated(self, words: str | None = None) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._error(exc, words) from exc

    def _error(self, exc: sqlite3.Error, words: str | None = None) -> LedgerError:
        path = repr(str(self.path))
        if words is not None:
            return LedgerError(words.format(path=path, cause=exc))
        if isinstance(exc, (sqlite3.IntegrityError, sqlite3.DataError)):
            return LedgerError(f"the ledger {path} refuses this: {exc}")
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return DatabaseFailed(lock_failure(path, self._busy_ms))
        return DatabaseFailed(f"the ledger {path} failed: {exc}")


def stored_version(path: Path) -> int | None:
    """The version of the schema in a file, its log included: 0 where nothing was ever written;
    None where nobody can tell."""
    try:
        with closing(_connected(path, BUSY_MS, "mode=ro")) as connection:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error:
        return None
    return version


def _connect(path: Path, busy_ms: int, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        return _connected(path, busy_ms, "mode=rwc")
    connection = _connected(path, busy_ms, "mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        wal = path.with_name(f"{path.name}-wal")
        if os.access(path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
            raise
        # Nobody can write there, ourselves included, and the file alone is complete.
        return _connected(path, busy_ms, "mode=ro&immutable=1")
    return connection


def _connected(path: Path, busy_ms: int, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # one thread at a time, but not always the same one
        cached_statements=512,
    )
    connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    return connection
