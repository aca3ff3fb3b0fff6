"""The rows that operations read by a key and write by a key, whichever database they lie in.

Owns what of it a module declares once, and the rows of a ledger in a file, which is asked for each
of them. A server is asked for many at once: `row_buffer`. Knows no table by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import add
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
        """Its parameter is `keys` (`sql.among`), in a file `key_0` and `key_1` where a key is two
        columns; its first *width* columns are the key, and the one at *job_at* is the job whose
        state they show."""
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
        """The rows of each key; what was `added` to them may not be in them."""
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
    """The connection that rows of a file stand before."""

    def fetch(self, statement: Statement, params: Params) -> list[DbRow]:
        """Run it as it is: nothing is settled before."""
        ...

    def run_many(self, statement: Statement, params: Iterable[Params]) -> None: ...


class FileRows:
    """The rows of a ledger in this process: each statement costs a few microseconds.

    What many operations of a transaction want alike is read once and written once: it has the file
    alone, so nobody else changes it meanwhile.
    """

    def __init__(self, file: _FileSource) -> None:
        self.is_ahead = True
        self._file = file
        self._is_open = False
        self._sums: dict[RowWrite, dict[Key, list[int]]] = {}
        self._summed: dict[KeyedQuery, dict[Key, list[DbRow]]] = {}
        self._numbers: dict[Table, int] = {}
        self._last: dict[RowWrite | Statement, list[RowValues]] = {}

    def begin(self) -> None:
        """A transaction begins: what is written may wait for its end."""
        self.clear()
        self._is_open = True

    def expect(self, query: KeyedQuery, key: Key) -> None: ...

    def expect_number(self, table: Table, count: int = 1) -> None: ...

    def read_ahead(self) -> None: ...

    def operation_done(self) -> None: ...

    def settle(self) -> None:
        """Write what waits, and forget what was read."""
        sums, self._sums = self._sums, {}
        last, self._last = self._last, {}
        for write, by_key in sums.items():
            for key, amounts in by_key.items():
                if any(amounts):
                    self._file.fetch(write.one, write.addition(key, amounts))
        for one, rows in last.items():
            self._file.run_many(one.one if isinstance(one, RowWrite) else one, rows)
        self._summed.clear()
        self._numbers.clear()

    def of(self, query: KeyedQuery, key: Key) -> list[DbRow]:
        if isinstance(key, tuple):
            parts = {f"key_{place}": part for place, part in enumerate(key)}
            return self._file.fetch(query.statement, parts)
        return self._file.fetch(query.statement, {"keys": key})

    def of_each(self, query: KeyedQuery, keys: Sequence[Key]) -> Mapping[Key, Sequence[DbRow]]:
        """Of rows that nothing but `add` changes."""
        found = self._summed.setdefault(query, {}) if self._is_open else {}
        for key in keys:
            if key not in found:
                found[key] = self.of(query, key)
        return found

    def number(self, table: Table) -> int:
        latest = self._numbers.get(table)
        if latest is None:
            ((latest,),) = self._file.fetch(_latest_number(table), {})
        if self._is_open:
            self._numbers[table] = latest + 1
        return int(latest) + 1

    def write(self, write: RowWrite, values: RowValues) -> None:
        self._file.fetch(write.one, values)

    def waiting(self, write: RowWrite) -> int:
        return 0

    def add(self, write: RowWrite, key: Key, amounts: Sequence[int]) -> None:
        if not self._is_open:
            self._file.fetch(write.one, write.addition(key, amounts))
            return
        sums = self._sums.setdefault(write, {})
        before = sums.get(key)
        sums[key] = list(amounts) if before is None else list(map(add, before, amounts))

    def added(self, write: RowWrite, key: Key) -> Sequence[int]:
        return self._sums.get(write, {}).get(key) or [0] * len(write.adding)

    def write_last(self, write: RowWrite | Statement, values: RowValues) -> None:
        self._last.setdefault(write, []).append(values)

    def latest(self, write: RowWrite | Statement) -> RowValues | None:
        kept = self._last.get(write)
        return kept[-1] if kept else None

    def clear(self) -> None:
        """The transaction is over: forget all, what waits included."""
        self._is_open = False
        for known in (self._sums, self._summed, self._numbers, self._last):
            known.clear()


@cache
def _latest_number(table: Table) -> Statement:
    return Statement(lambda _: text(f"SELECT coalesce(max(seq), 0) FROM {table.name}"))
