"""The single writer of the ledger: operations in, answers out, one commit for many.

Owns the order of all writes. Operations that wait together share a transaction
and one call through the `to_thread` seam, with what the lanes' files have to know, and are
answered once it is durable. An
operation that raises is rolled back alone; a commit that fails fails every
operation in it, and no later one is tried: the run must stop and start anew.
"""

from __future__ import annotations

from asyncio import Event, Future, get_running_loop
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import anyio
import anyio.lowlevel

from fluxbatch.config.api_keys import KeyFilter
from fluxbatch.errors import DatabaseFailed, LedgerError, TransactionConflict
from fluxbatch.infra.runtime import ToThread
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import Rows

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

_GROUP = 256
_CONFLICT_TRIES = 5
_BUSY = 4
_PAUSE_S = 0.008
"""Where a commit had so many operations, more are let gather: a commit costs as much as five."""


class Beside(Protocol):
    """A file beside the ledger whose changes are written on the same trip to a thread."""

    def take(self) -> Sequence[Any]:
        """What waits to be written, in order; its writing is the caller's now."""
        ...

    def write(self, changes: Sequence[Any]) -> None:
        """Blocks."""
        ...


Following = Callable[[R], "tuple[Beside, Any] | None"]
"""From an operation's answer to what a file beside must have before anybody is answered."""


class Operation(Protocol[R_co]):
    """A change of the ledger as a value; all of it happens in one transaction or none.

    It may be applied twice: where another one of its group raises, all are rolled back and begun
    again. So it decides from what it reads, and keeps nothing. One that is common has a method
    `expect(rows)` as well, which names the rows it is going to read: a group reads them at once.
    """

    def apply(self, db: Database) -> R_co: ...


class _Outcome(NamedTuple):
    result: Any
    error: Exception | None


class _Waiting(Generic[R]):
    __slots__ = ("answered", "following", "operation")

    def __init__(self, operation: Operation[R], following: Following[R] | None) -> None:
        self.operation = operation
        self.following = following
        self.answered: Future[_Outcome] = get_running_loop().create_future()

    def answer(self, outcome: _Outcome) -> None:
        if not self.answered.done():  # its caller may be cancelled
            self.answered.set_result(outcome)


class LedgerWriter:
    """Takes operations from any task; `run` must be running in the engine's task group."""

    def __init__(
        self,
        database: Database,
        to_thread: ToThread,
        keys: KeyFilter | None = None,
        beside: Collection[Beside] = (),
        split: Callable[[int, str], None] = lambda _times, _why: None,
    ) -> None:
        """*keys* are in nothing that is written, whoever's words they stand in. *beside* may grow
        while the writer works. *split* is told how many groups had to be committed one by one so
        far, and why the latest."""
        self._database = database
        self._to_thread = to_thread
        self._keys = keys or KeyFilter()
        self._beside = beside
        self._tell_split = split
        self.groups_split = 0
        """Groups that one of their operations made fall apart into single commits."""
        self._queue: deque[_Waiting[Any]] = deque()
        self._group: list[_Waiting[Any]] = []
        self._wake = Event()
        self._stopped: str | None = None
        """Why nothing more is written; None while the writer works."""

    def _has_stopped(self) -> bool:
        return self._stopped is not None

    async def apply(self, operation: Operation[R], following: Following[R] | None = None) -> R:
        """The operation's answer, once it is durable, and what is *following* is written.

        A caller that is cancelled meanwhile knows nothing: the operation may have happened.
        """
        if self._stopped is not None:
            # A caller cancelled together with the writer leaves here, without an error.
            await anyio.lowlevel.checkpoint()
            raise LedgerError(self._stopped)
        waiting = _Waiting(self._keys.value(operation), following)
        self._queue.append(waiting)
        self._wake.set()
        outcome = await waiting.answered
        if outcome.error is not None:
            if self._has_stopped():  # meanwhile
                await anyio.lowlevel.checkpoint()  # so does one that asked in that very moment
            raise outcome.error
        result: R = outcome.result
        return result

    async def run(self) -> None:
        """Commit what comes, until cancelled. What then still waits gets an error."""
        try:
            while True:
                await self._wake.wait()
                self._wake = Event()
                while self._queue:
                    if await self._commit() >= _BUSY:
                        await anyio.sleep(_PAUSE_S)
        finally:
            self._stop("the ledger's writer has stopped")

    async def _commit(self) -> int:
        """Commit a group; answers how many operations were in it."""
        self._group = [self._queue.popleft() for _ in range(min(_GROUP, len(self._queue)))]
        operations = [waiting.operation for waiting in self._group]
        following = [waiting.following for waiting in self._group]
        noted = [(file, file.take()) for file in self._beside]
        trip = partial(commit_trip, self._database, operations, following, noted)
        outcomes, split_by = await self._to_thread(trip)
        if split_by is not None:
            self.groups_split += 1
            self._tell_split(self.groups_split, str(split_by))
        group, self._group = self._group, []
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.answer(outcome)
        for outcome in outcomes:
            if isinstance(outcome.error, DatabaseFailed):
                self._stop(str(outcome.error))
                break
        return len(group)

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        for waiting in (*self._group, *self._queue):
            waiting.answer(_Outcome(None, LedgerError(self._stopped)))
        self._group = []
        self._queue.clear()


def commit_trip(
    db: Database,
    operations: Sequence[Operation[Any]],
    following: Sequence[Following[Any] | None],
    noted: Sequence[tuple[Beside, Sequence[Any]]],
) -> tuple[list[_Outcome], Exception | None]:
    """Commit *operations*; then write what was *noted* before, and what is *following* from
    them. Answers also what made the group fall apart, if anything did."""
    split_by: list[Exception] = []
    outcomes = commit_group(db, operations, split_by.append)
    changes = {file: list(earlier) for file, earlier in noted}
    for follow, outcome in zip(following, outcomes, strict=True):
        if follow is not None and outcome.error is None:
            follows = follow(outcome.result)
            if follows is not None:
                changes.setdefault(follows[0], []).append(follows[1])
    for file, its in changes.items():
        if its:
            file.write(its)
    return outcomes, split_by[0] if split_by else None


def commit_group(
    db: Database,
    operations: Sequence[Operation[Any]],
    on_split: Callable[[Exception], None] = lambda _: None,
) -> list[_Outcome]:
    """Apply *operations* in one transaction; where one raises, each in its own, and *on_split*
    is told.

    A database that fails fails all that is not committed yet.
    """
    try:
        outcomes = _applied(db, operations)
    except DatabaseFailed as exc:
        _rollback_quietly(db)
        return [_Outcome(None, _told_again(exc)) for _ in operations]
    except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to the one who asked
        _rollback_quietly(db)
        if len(operations) == 1:
            return [_Outcome(None, exc)]
        on_split(exc)
        return _one_by_one(db, operations)
    except BaseException:
        _rollback_quietly(db)
        raise
    return outcomes


def _applied(db: Database, operations: Sequence[Operation[Any]]) -> list[_Outcome]:
    """In one transaction; one that the server undoes in favour of another is tried again."""
    for tries_left in reversed(range(_CONFLICT_TRIES)):
        try:
            _expect(db, operations)
            db.begin_turn()
            outcomes = []
            for number, operation in enumerate(operations):
                if not db.rows.is_ahead:
                    _expect(db, operations[number:])
                    db.rows.read_ahead()
                outcomes.append(_Outcome(operation.apply(db), None))
                db.rows.operation_done()
            db.commit()
        except TransactionConflict:
            if not tries_left:
                raise
            _rollback_quietly(db)
        else:
            return outcomes
    raise AssertionError("every try returns or raises")


def _expect(db: Database, operations: Sequence[Operation[Any]]) -> None:
    """Tell what they are going to read, as far as they know it."""
    for operation in operations:
        expect: Callable[[Rows], None] | None = getattr(operation, "expect", None)
        if expect is not None:
            expect(db.rows)


def _one_by_one(db: Database, operations: Sequence[Operation[Any]]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    for number, operation in enumerate(operations):
        (outcome,) = commit_group(db, [operation])
        outcomes.append(outcome)
        if isinstance(outcome.error, DatabaseFailed):
            left = operations[number + 1 :]
            return outcomes + [_Outcome(None, _told_again(outcome.error)) for _ in left]
    return outcomes


def _told_again(failure: DatabaseFailed) -> DatabaseFailed:
    """One error for each that waits: a raised one gathers the traceback of its own task."""
    error = DatabaseFailed(*failure.args)
    error.__cause__ = failure.__cause__
    return error


def commit(db: Database, operation: Operation[R]) -> R:
    """Apply one operation now, on the caller's thread."""
    (outcome,) = commit_group(db, [operation])
    if outcome.error is not None:
        raise outcome.error
    result: R = outcome.result
    return result


class BatchCommit:
    """Operations in one transaction across many calls, durable at `settle`; for one thread.

    An index over random keys has few of its pages touched twice in a small transaction, and each
    is written out: a million jobs by ten thousands took twice as long as by two hundred thousands.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._is_open = False

    def apply(self, operation: Operation[R]) -> R:
        """Apply one more; where it raises, all since the last `settle` are undone."""
        if not self._is_open:
            self._db.begin()
            self._is_open = True
        try:
            return operation.apply(self._db)
        except BaseException:
            self.undo()
            raise

    def settle(self) -> None:
        """Commit what was applied, if anything was."""
        if self._is_open:
            try:
                self._db.commit()
            except BaseException:
                self.undo()
                raise
            self._is_open = False

    def undo(self) -> None:
        self._is_open = False
        _rollback_quietly(self._db)


def _rollback_quietly(db: Database) -> None:
    with suppress(LedgerError):  # the connection is gone, and the transaction with it
        db.rollback()
