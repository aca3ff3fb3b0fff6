"""The record of a lane that machines share: the creates of other datasets of the same database.

Owns what a lane's next holder must know beyond its own ledger. Nothing is written for that: every
ledger of the database has its own creates, and is read where the lane's file is on one machine.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from fluxbatch.errors import LedgerError, TransactionConflict
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.sharing.lanes import AccountCreate, creates_of_other_datasets
from fluxbatch.scheduler.lane_state_file import CreateState, KeptCreate, LaneFile

_T = TypeVar("_T")


class SideConnection:
    """One more connection to a ledger, for whichever thread wants it: one at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._in_use = threading.Lock()

    def __call__(self, query: Callable[[Database], _T]) -> _T:
        with self._in_use:
            return query(self._db)

    def transaction(self, change: Callable[[Database], _T], *, in_turn: bool = False) -> _T:
        """*change* in one transaction; *in_turn*: as the dataset's only writer meanwhile."""
        with self._in_use:
            while True:
                try:
                    return self._transacted(change, in_turn=in_turn)
                except TransactionConflict:
                    continue  # another transaction was let through

    def _transacted(self, change: Callable[[Database], _T], *, in_turn: bool) -> _T:
        self._db.begin()
        try:
            if in_turn:
                self._db.take_turn()
            answer = change(self._db)
            self._db.commit()
        except BaseException:
            with suppress(LedgerError):  # the connection may be gone
                self._db.rollback()
            raise
        return answer


class LaneRecord(LaneFile):
    """One account's record, in the place of its file."""

    is_new = False

    def __init__(self, account: str, dataset: str, connection: SideConnection) -> None:
        self.dataset = dataset
        self._account = account
        self._side = connection

    def kept(self) -> list[KeptCreate]:
        return kept_in_database([self._account], self._side)

    def put(
        self,
        prediction: int,
        state: CreateState,
        at: Timestamp,
        *,
        provider_id: str | None = None,
        counted: bool = True,
    ) -> None:
        """The ledger has it."""

    def end(self, prediction: int, dataset: str | None = None) -> None:
        """The ledger has it."""

    def forget_ended(self, now: Timestamp) -> None:
        """Nothing was kept."""

    def apply(self, changes: Sequence[Callable[[LaneFile], None]]) -> None:
        """The ledger has them all."""

    def close(self) -> None:
        """The connection is its opener's."""


def kept_in_database(accounts: Collection[str], connection: SideConnection) -> list[KeptCreate]:
    """What other datasets of the database have made with *accounts*, or may have."""
    return [_kept(one) for one in connection(lambda db: creates_of_other_datasets(db, accounts))]


def _kept(one: AccountCreate) -> KeptCreate:
    state: CreateState = "ended"
    if one.is_live:
        state = "left" if one.provider_id is None else "running"
    return KeptCreate(
        one.dataset,
        one.prediction,
        state,
        one.provider_id,
        one.is_counted,
        one.at,
        f"dataset {one.dataset!r} of the same database",
    )
