"""One more connection to a ledger, beside its writer's and its reader's.

Owns its transactions, from whichever thread: begun, in the dataset's turn where that is asked for,
tried again where the server undid them in favour of another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fluxbatch.errors import LedgerError, TransactionConflict
from fluxbatch.ledger.db.database import Database

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
        try:
            (self._db.begin_turn if in_turn else self._db.begin)()
            answer = change(self._db)
            self._db.commit()
        except BaseException:
            with suppress(LedgerError):  # the connection may be gone
                self._db.rollback()
            raise
        return answer
