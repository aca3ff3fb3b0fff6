"""The rows of a transaction on a server, read ahead and written for many operations at once.

Owns what a group of operations reads and writes by the kind instead of by the row, so that a
server a millisecond away is asked a handful of times for two hundred operations. Each of them sees
what those before it did: the rows of a job that one of them had in hand are read anew, and a
statement that does not come by here runs after all that waits. Knows no table by name.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy import Table

from fluxbatch.ledger.db.rows import DbRow, Key, KeyedQuery, RowValues, RowWrite
from fluxbatch.ledger.db.sql import Params, Statement, postgres_statement

_NOTHING: Mapping[Key, list[DbRow]] = {}
StatementCalls = Sequence[tuple[Statement, Params]]


class RowSource(Protocol):
    """What a buffer stands before."""

    def run_all(self, calls: StatementCalls, *, start: str = "") -> list[list[DbRow]]:
        """Run them in one round trip, in order, *start* before them; the rows of each."""
        ...


class RowBuffer:
    """What a transaction has read ahead, and what it has not written yet."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._expected: dict[KeyedQuery, dict[Key, None]] = {}
        self._expected_numbers: dict[Table, int] = {}
        self._read: dict[KeyedQuery, dict[Key, list[DbRow]]] = {}
        self._numbers = defaultdict[Table, deque[int]](deque)
        self._in_hand = set[int]()
        """Jobs that the operation at work has read."""
        self._touched = set[int]()
        """Jobs that operations before it had in hand: what was read of them may be old."""
        self._kept: dict[RowWrite, list[RowValues]] = {}
        self._updated = set[tuple[RowWrite, object]]()
        """Rows that wait to be updated: twice in one statement is once."""
        self._sums: dict[RowWrite, dict[Key, list[int]]] = {}
        self._last: dict[RowWrite | Statement, list[RowValues]] = {}
        self.is_ahead = False
        self._is_open = False

    def begin(self) -> None:
        """A transaction begins: what is written may wait for its end."""
        self._is_open = True

    # before the operations

    def expect(self, query: KeyedQuery, key: Key) -> None:
        self._expected.setdefault(query, {})[key] = None

    def expect_number(self, table: Table, count: int = 1) -> None:
        self._expected_numbers[table] = self._expected_numbers.get(table, 0) + count

    def read_ahead(self, start: str = "") -> None:
        """Read all that is expected, at once; *start* is what begins the transaction."""
        queries = {query: list(keys) for query, keys in self._expected.items()}
        numbers = {
            table: more
            for table, count in self._expected_numbers.items()
            if (more := count - len(self._numbers[table])) > 0
        }
        calls = [*_numbers_calls(numbers), *_query_calls(queries)]
        self._expected, self._expected_numbers = {}, {}
        self.is_ahead = True
        if calls or start:
            found = self._source.run_all(calls, start=start)
            for table, rows in zip(numbers, found, strict=False):
                self._numbers[table].extend(number for (number,) in rows)
            self._read |= _by_key(queries, found[len(numbers) :])

    def of(self, query: KeyedQuery, key: Key) -> list[DbRow]:
        rows = self._read.get(query, _NOTHING).get(key)
        if rows is None or not self._is_fresh(query, rows):
            return self.of_each(query, (key,))[key]
        if query.job_at is not None:
            for row in rows:
                self._in_hand.add(row[query.job_at])
        return rows

    def of_each(self, query: KeyedQuery, keys: Sequence[Key]) -> Mapping[Key, list[DbRow]]:
        read = self._read.get(query, {})
        if any(key not in read or not self._is_fresh(query, read[key]) for key in keys):
            self.settle()
            found = self._source.run_all(_query_calls({query: keys}))
            read = _by_key({query: keys}, found)[query]
        if query.job_at is not None:
            self._in_hand.update(row[query.job_at] for key in keys for row in read[key])
        return read

    def _is_fresh(self, query: KeyedQuery, rows: Sequence[DbRow]) -> bool:
        at = query.job_at
        if at is None:
            return True
        if len(rows) == 1:
            return rows[0][at] not in self._touched
        return bool(rows) and all(row[at] not in self._touched for row in rows)

    def number(self, table: Table) -> int:
        numbers = self._numbers[table]
        if not numbers:
            ((numbers_row,),) = self._source.run_all(_numbers_calls({table: 1}))
            numbers.extend(numbers_row)
        return numbers.popleft()

    def write(self, write: RowWrite, values: RowValues) -> None:
        """Later, together with its like."""
        if (seq := values.get("seq")) is not None:
            if (write, seq) in self._updated:
                self.settle()
            self._updated.add((write, seq))
        self._kept.setdefault(write, []).append(values)
        self._write_outside_of_transaction()

    def waiting(self, write: RowWrite) -> int:
        return len(self._kept.get(write, ()))

    def add(self, write: RowWrite, key: Key, amounts: Sequence[int]) -> None:
        """Add to a row, later; an amount below 0 takes away."""
        sums = self._sums.setdefault(write, defaultdict(lambda: [0] * len(amounts)))
        sums[key] = [before + more for before, more in zip(sums[key], amounts, strict=True)]
        self._write_outside_of_transaction()

    def added(self, write: RowWrite, key: Key) -> Sequence[int]:
        """What was added to a row and is not written yet."""
        return self._sums.get(write, {}).get(key) or [0] * len(write.adding)

    def operation_done(self) -> None:
        """The next one begins: what this one read, it may have changed."""
        self._touched |= self._in_hand
        self._in_hand.clear()

    def write_last(self, write: RowWrite | Statement, values: RowValues) -> None:
        self._last.setdefault(write, []).append(values)
        self._write_outside_of_transaction()

    def latest(self, write: RowWrite | Statement) -> RowValues | None:
        kept = self._last.get(write)
        return kept[-1] if kept else None

    # after them

    def settle(self) -> None:
        """Write all that waits, and forget what was read: it may be old from here on."""
        waiting = self._take_waiting()
        self._forget()
        if waiting:
            self._source.run_all(waiting)

    def take_all(self) -> StatementCalls:
        """What is not written yet, in order; to write it, before a commit, is the caller's now."""
        calls = self._take_waiting()
        self.clear()
        return calls

    def clear(self) -> None:
        """The transaction is over: forget all, what waits included."""
        self._is_open = False
        self._expected, self._expected_numbers = {}, {}
        self._kept, self._sums, self._last = {}, {}, {}
        self._numbers.clear()
        self._forget()

    def _take_waiting(self) -> list[tuple[Statement, Params]]:
        waiting = dict[RowWrite | Statement, list[RowValues]](self._kept.items())
        for write, sums in self._sums.items():
            changes = [(key, amounts) for key, amounts in sums.items() if any(amounts)]
            waiting[write] = [write.addition(*change) for change in changes]
        waiting |= self._last
        self._kept, self._sums, self._last = {}, {}, {}
        calls = list[tuple[Statement, Params]]()
        for one, rows in waiting.items():
            if not isinstance(one, RowWrite):
                calls += [(one, row) for row in rows]
            elif rows:
                calls.append((one.together, {"rows": json.dumps(rows)}))
        return calls

    def _forget(self) -> None:
        self.is_ahead = False
        for known in (self._read, self._touched, self._updated):
            if known:
                known.clear()

    def _write_outside_of_transaction(self) -> None:
        if not self._is_open:
            self._source.run_all(self.take_all())


_NEW_NUMBERS = postgres_statement(
    "SELECT nextval(pg_get_serial_sequence(:table, 'seq'))"
    " FROM generate_series(1, CAST(:count AS integer))"
)


def _numbers_calls(numbers: Mapping[Table, int]) -> list[tuple[Statement, Params]]:
    """Numbers that no row of a table has or will have; those that are not used stay out."""
    return [
        (_NEW_NUMBERS, {"table": table.name, "count": count}) for table, count in numbers.items()
    ]


def _query_calls(queries: Mapping[KeyedQuery, Sequence[Key]]) -> list[tuple[Statement, Params]]:
    return [(query.statement, {"keys": json.dumps(keys)}) for query, keys in queries.items()]


def _by_key(
    queries: Mapping[KeyedQuery, Sequence[Key]], found: Sequence[Sequence[DbRow]]
) -> dict[KeyedQuery, dict[Key, list[DbRow]]]:
    sorted_rows: dict[KeyedQuery, dict[Key, list[DbRow]]] = {}
    for (query, keys), rows in zip(queries.items(), found, strict=True):
        by_key = sorted_rows[query] = {key: list[DbRow]() for key in keys}
        for row in rows:
            by_key[row[0] if query.width == 1 else row[: query.width]].append(row)
    return sorted_rows
