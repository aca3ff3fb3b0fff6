"""The rows that operations read by a key and write by a key, whichever database they lie in.

Owns what of it a module declares once, and the rows of a ledger in a file, which is asked for each
of them. A server is asked for many at once: `row_buffer`. Knows no table by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from sqlalchemy import Table, text

from fluxbatch.ledger.db.sql import Build, Params, Statement

DbRow = tuple[Any, ...]
Key = int | str | tuple[str | int, ...]
RowValues = dict[str, Any]
"""By column."""


class KeyedQuery:
    """A query of the rows that belong to any of many keys."""

    __slots__ = ("job_at", "statement", "width")

    def __init__(self, build: Build, *, width: int = 1, job_at: int | None = None) -> None:
        """Its parameter is `keys` (`sql.among`); its first *width* columns are the key, and the one
        at *job_at* is the job whose state they show."""
        self.statement = Statement(build)
        self.width = width
        self.job_at = job_at


class RowWrite:
    """An insert of one row, or the update of one by its key."""

    __slots__ = ("adding", "key", "one", "together")

    def __init__(
        self, one: str, together: str, key: Sequence[str] = (), adding: Sequence[str] = ()
    ) -> None:
        self.one = Statement(lambda _: text(one))
        """Its parameters are called as the columns."""
        self.together = Statement(lambda _: text(together))
        """For many at once, as PostgreSQL has it: its parameter is `rows`, an array of objects."""
        self.key = key
        self.adding = adding

    def addition(self, key: Key, amounts: Sequence[int]) -> RowValues:
        """What adds those amounts to the row with that key."""
        parts = key if isinstance(key, tuple) else (key,)
        return dict(zip((*self.key, *self.adding), (*parts, *amounts), strict=True))


def row_insert(table: Table, names: Sequence[str]) -> RowWrite:
    """The insert of a row with the columns *names*."""
    listed = ", ".join(names)
    into = f"INSERT INTO {table.name} ({listed})"
    values = ", ".join(f":{name}" for name in names)
    return RowWrite(
        f"{into} VALUES ({values})", f"{into} SELECT {listed} FROM {_given(table, names)}"
    )


def row_update(table: Table, names: Sequence[str], adding: Sequence[str] = ()) -> RowWrite:
    """The update of a row by its `seq`: *names* are set, *adding* is added to."""
    name = table.name
    one = [f"{column} = :{column}" for column in names]
    one += [f"{column} = {column} + :{column}" for column in adding]
    many = [f"{column} = given.{column}" for column in names]
    many += [f"{column} = {name}.{column} + given.{column}" for column in adding]
    return RowWrite(
        f"UPDATE {name} SET {', '.join(one)} WHERE seq = :seq",
        f"UPDATE {name} SET {', '.join(many)} FROM {_given(table, ('seq', *names, *adding))}"
        f" WHERE {name}.seq = given.seq",
    )


def row_addition(table: Table, key: Sequence[str], adding: Sequence[str]) -> RowWrite:
    """The addition to the columns *adding* of the row with that *key*: many changes are one sum.

    Rows are locked in the order of their keys; an update by itself locks them as they lie on disk.
    """
    name, keys = table.name, ", ".join(key)
    one = ", ".join(f"{column} = {column} + :{column}" for column in adding)
    many = ", ".join(f"{column} = {name}.{column} + given.{column}" for column in adding)
    own = " AND ".join(f"{column} = :{column}" for column in key)
    same = " AND ".join(f"{name}.{column} = given.{column}" for column in key)
    locked = (
        f"(SELECT given.* FROM {_given(table, (*key, *adding))} JOIN {name} USING ({keys})"
        f" ORDER BY {keys} FOR UPDATE OF {name}) AS given"
    )
    return RowWrite(
        f"UPDATE {name} SET {one} WHERE {own}",
        f"UPDATE {name} SET {many} FROM {locked} WHERE {same}",
        key,
        adding,
    )


def _given(table: Table, names: Iterable[str]) -> str:
    """The rows of a JSON array as PostgreSQL's own."""
    typed = ", ".join(f"{name} {table.c[name].type}" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS given({typed})"


class Rows(Protocol):
    """The rows of the transaction that is open, or of each call alone."""

    is_ahead: bool
    """What the next operations read need not be read ahead: it was, or that is of no use."""

    # of a group of operations

    def expect(self, query: KeyedQuery, key: Key) -> None:
        """An operation is going to read these rows: said before its transaction begins."""
        ...

    def expect_number(self, table: Table, count: int = 1) -> None:
        """An operation is going to insert rows there."""
        ...

    def read_ahead(self) -> None:
        """All that is expected may be read now, at once."""
        ...

    def operation_done(self) -> None:
        """The next operation begins."""
        ...

    # within an operation

    def of(self, query: KeyedQuery, key: Key) -> Sequence[DbRow]:
        """The rows of one key, as the operations so far have left them."""
        ...

    def of_each(self, query: KeyedQuery, keys: Sequence[Key]) -> Mapping[Key, Sequence[DbRow]]:
        """The rows of each key."""
        ...

    def number(self, table: Table) -> int:
        """The `seq` of a row that is about to be inserted there."""
        ...

    def write(self, write: RowWrite, values: RowValues) -> None:
        """Write a row; whoever reads it after that finds it so."""
        ...

    def waiting(self, write: RowWrite) -> int:
        """How many of its like are not in the database yet."""
        ...

    def add(self, write: RowWrite, key: Key, amounts: Sequence[int]) -> None:
        """Add to a row; an amount below 0 takes away."""
        ...

    def added(self, write: RowWrite, key: Key) -> Sequence[int]:
        """What was added to a row, and is not in what was read of it."""
        ...

    def write_last(self, write: RowWrite | Statement, values: RowValues) -> None:
        """Write it as the transaction's last, together with its like: nothing here reads it."""
        ...

    def latest(self, write: RowWrite | Statement) -> RowValues | None:
        """What is to be written last of its like, so far; a caller may change it."""
        ...

    def settle(self) -> None:
        """A statement comes that is no part of this: it finds all that was written."""
        ...


class _FileSource(Protocol):
    def run(self, statement: Statement, params: Params) -> list[DbRow]: ...

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None: ...


class FileRows:
    """The rows of a ledger in this process: each statement costs a few microseconds."""

    def __init__(self, file: _FileSource) -> None:
        self.is_ahead = True
        self._file = file
        self._last: dict[RowWrite | Statement, list[RowValues]] = {}

    def expect(self, query: KeyedQuery, key: Key) -> None: ...

    def expect_number(self, table: Table, count: int = 1) -> None: ...

    def read_ahead(self) -> None: ...

    def operation_done(self) -> None: ...

    def settle(self) -> None: ...

    def of(self, query: KeyedQuery, key: Key) -> list[DbRow]:
        return self._file.run(query.statement, {"keys": key})

    def of_each(self, query: KeyedQuery, keys: Sequence[Key]) -> dict[Key, list[DbRow]]:
        return {key: self.of(query, key) for key in keys}

    def number(self, table: Table) -> int:
        ((latest,),) = self._file.run(_latest_number(table), {})
        return int(latest) + 1

    def write(self, write: RowWrite, values: RowValues) -> None:
        self._file.run(write.one, values)

    def waiting(self, write: RowWrite) -> int:
        return 0

    def add(self, write: RowWrite, key: Key, amounts: Sequence[int]) -> None:
        self._file.run(write.one, write.addition(key, amounts))

    def added(self, write: RowWrite, key: Key) -> Sequence[int]:
        return [0] * len(write.adding)

    def write_last(self, write: RowWrite | Statement, values: RowValues) -> None:
        self._last.setdefault(write, []).append(values)

    def latest(self, write: RowWrite | Statement) -> RowValues | None:
        kept = self._last.get(write)
        return kept[-1] if kept else None

    def commit(self) -> None:
        """Write what is to be written last."""
        for write, rows in self._last.items():
            self._file.run_many(write.one if isinstance(write, RowWrite) else write, rows)
        self._last.clear()

    def clear(self) -> None:
        """It was rolled back."""
        self._last.clear()


@cache
def _latest_number(table: Table) -> Statement:
    return Statement(lambda _: text(f"SELECT coalesce(max(seq), 0) FROM {table.name}"))
