"""The reader of the ledger beside its writer: one query at a time, on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio

from fluxbatch.infra.runtime import ToThread
from fluxbatch.ledger.db.database import Database

_T = TypeVar("_T")


class LedgerReader:
    """Runs queries through the `to_thread` seam, in the order in which they come."""

    def __init__(self, db: Database, to_thread: ToThread) -> None:
        self._db = db
        self._to_thread = to_thread
        self._reading = anyio.Lock()

    async def __call__(self, query: Callable[[Database], _T], /) -> _T:
        async with self._reading:
            return await self._to_thread(partial(self._db.at_one_moment, query))
