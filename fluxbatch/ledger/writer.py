"""The single writer of the ledger: operations in, answers out, one commit for many.

Owns the order of all writes. Operations that wait together share a transaction
and one call through the `to_thread` seam, and are answered once it is durable. An
operation that raises is rolled back alone; a commit that fails fails every
operation in it, and no later one is tried: the run must stop and start anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import anyio
import anyio.lowlevel

from fluxbatch.config.api_keys import KeyFilter
from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.infra.runtime import ToThread
from fluxbatch.ledger.db.database import Database

R_co = TypeVar("R_co", covariant=True)
_R = TypeVar("_R")

_GROUP = 256


class Operation(Protocol[R_co]):
    """A change of the ledger as a value; all of it happens in one transaction or none.

    It may be applied twice: where another one of its group raises, all are rolled back and begun
    again. So it decides from what it reads, and keeps nothing.
    """

    def apply(self, db: Database) -> R_co: ...


class _Outcome(NamedTuple):
    result: Any
    error: Exception | None


class _Waiting(Generic[_R]):
    __slots__ = ("done", "operation", "outcome")

    def __init__(self, operation: Operation[_R]) -> None:
        self.operation = operation
        self.done = anyio.Event()
        self.outcome: _Outcome | None = None

    def answer(self, outcome: _Outcome) -> None:
        self.outcome = outcome
        self.done.set()


class LedgerWriter:
    """Takes operations from any task; `run` must be running in the engine's task group."""

    def __init__(
        self,
        database: Database,
        to_thread: ToThread,
        keys: KeyFilter = KeyFilter(),  # noqa: B008  immutable
    ) -> None:
        """*keys* are in nothing that is written, whoever's words they stand in."""
        self._database = database
        self._to_thread = to_thread
        self._keys = keys
        self._queue: deque[_Waiting[Any]] = deque()
        self._group: list[_Waiting[Any]] = []
        self._wake = anyio.Event()
        self._stopped: str | None = None
        """Why nothing more is written; None while the writer works."""

    async def apply(self, operation: Operation[_R]) -> _R:
        """The operation's answer, once it is durable.

        A caller that is cancelled meanwhile knows nothing: the operation may have happened.
        """
        if self._stopped is not None:
            # A caller cancelled together with the writer leaves here, without an error.
            await anyio.lowlevel.checkpoint()
            raise LedgerError(self._stopped)
        waiting = _Waiting(self._keys.value(operation))
        self._queue.append(waiting)
        self._wake.set()
        await waiting.done.wait()
        outcome = waiting.outcome
        assert outcome is not None
        if outcome.error is not None:
            raise outcome.error
        result: _R = outcome.result
        return result

    async def run(self) -> None:
        """Commit what comes, until cancelled. What then still waits gets an error."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._queue:
                    await self._commit()
        finally:
            self._stop("the ledger's writer has stopped")

    async def _commit(self) -> None:
        self._group = [self._queue.popleft() for _ in range(min(_GROUP, len(self._queue)))]
        operations = [waiting.operation for waiting in self._group]
        outcomes = await self._to_thread(partial(commit_group, self._database, operations))
        group, self._group = self._group, []
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.answer(outcome)
        for outcome in outcomes:
            if isinstance(outcome.error, DatabaseFailed):
                self._stop(str(outcome.error))
                return

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        for waiting in (*self._group, *self._queue):
            waiting.answer(_Outcome(None, LedgerError(self._stopped)))
        self._group = []
        self._queue.clear()


def commit_group(db: Database, operations: Sequence[Operation[Any]]) -> list[_Outcome]:
    """Apply *operations* in one transaction; where one raises, each in its own.

    A database that fails fails all that is not committed yet.
    """
    try:
        db.begin()
        db.take_turn()
        outcomes = [_Outcome(operation.apply(db), None) for operation in operations]
        db.commit()
    except DatabaseFailed as exc:
        _rollback_quietly(db)
        return [_Outcome(None, _told_again(exc)) for _ in operations]
    except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to the one who asked
        _rollback_quietly(db)
        return [_Outcome(None, exc)] if len(operations) == 1 else _one_by_one(db, operations)
    except BaseException:
        _rollback_quietly(db)
        raise
    return outcomes


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


def commit(db: Database, operation: Operation[_R]) -> _R:
    """Apply one operation now, on the caller's thread."""
    (outcome,) = commit_group(db, [operation])
    if outcome.error is not None:
        raise outcome.error
    result: _R = outcome.result
    return result


class BatchCommit:
    """Operations in one transaction across many calls, durable at `settle`; for one thread.

    An index over random keys has few of its pages touched twice in a small transaction, and each
    is written out: a million jobs by ten thousands took twice as long as by two hundred thousands.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._is_open = False

    def apply(self, operation: Operation[_R]) -> _R:
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
