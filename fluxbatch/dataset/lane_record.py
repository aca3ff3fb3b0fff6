"""The record of a lane that machines share: the creates of other datasets of the same database.

Owns what a lane's next holder must know beyond its own ledger. Nothing is written for that: every
ledger of the database has its own creates, and is read where the lane's file is on one machine.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.sharing.lanes import AccountCreate, creates_of_other_datasets
from fluxbatch.ledger.sharing.side_connection import SideConnection
from fluxbatch.scheduler.lane_state_file import CreateState, KeptCreate, LaneFile

_T = TypeVar("_T")


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

    def end(self, prediction: int) -> None:
        """The ledger has it."""

    def free(self, prediction: int, dataset: str) -> None:
        """The other dataset's ledger has it."""

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
