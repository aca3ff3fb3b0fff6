"""The wait after the database's failover: nothing is bought before all accounts were searched.

Owns when a run may buy again. A create that the failover had lost is known by the provider alone,
and only who has a key of its account can ask. Its job looks like one that was never bought, to all
processes and on all accounts; so none of them buys before all accounts were searched.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fluxbatch.engine.membership.membership import Membership
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.sharing.failovers import (
    Unsearched,
    first_run_at,
    unsearched_accounts,
    was_searched,
)
from fluxbatch.ledger.sharing.lanes import HeldLane, lanes_of
from fluxbatch.ledger.sharing.workers import Worker, workers
from fluxbatch.worker.lost_commits import take_in_lost_creates

_HOPE = timedelta(hours=1)
"""How long after the failover an account's lost creates are waited for: for somebody who has a key
of it, or a listing."""
_LAG = timedelta(hours=1)
"""What a promoted server may lack: a dataset that was first run later has lost nothing."""


class AfterFailover:
    """Of one membership."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self._context = member.in_use()
        self._settled = 0
        """The failover of which nothing is left to be searched for."""

    async def search(self, account: str) -> None:
        """Take in what a failover had lost of the account's creates, unless that was done."""
        member = self._member
        failover = member.failover
        if failover == self._settled:
            return
        unsearched = await member.call(lambda db: unsearched_accounts(db, failover))
        if account not in {one.account for one in unsearched}:
            return
        is_known = self._is_later(await member.call(first_run_at))
        until = self._hoped_until()
        if is_known or await take_in_lost_creates(self._context, member.keys, account, until):
            await member.change(lambda db: was_searched(db, account, failover))

    async def is_settled(self) -> bool:
        """Whether all is known that any account of this dataset has made; says why it is not."""
        member = self._member
        failover = member.failover
        if failover == self._settled:
            return True

        def look(db: Database) -> tuple[list[Unsearched], list[Worker], list[HeldLane]]:
            unsearched = list(unsearched_accounts(db, failover))
            names = [one.account for one in unsearched]
            return unsearched, workers(db), lanes_of(db, names)

        unsearched, everybody, lanes = await member.call(look)
        elsewhere = {
            lane.account
            for lane in lanes
            if lane.dataset != member.dataset and lane.holder is not None and not lane.is_expired
        }
        searchable = {a for one in everybody if not one.is_silent for a in one.accounts}
        is_settled = True
        for one in unsearched:
            if one.account in elsewhere & member.usable_accounts():
                await self.search(one.account)  # whoever holds it searches for its own creates
                is_settled = False
            elif one.account in searchable or self._is_hoped_for(one):
                is_settled = False
        if is_settled:
            self._settled = failover
        return is_settled

    def _promoted(self) -> datetime:
        """When the server was: its clock began then."""
        now = self._context.runtime.clock.now()
        return now.utc - timedelta(seconds=now.boot_s)

    def _hoped_until(self) -> datetime:
        """By the promotion, as what it lost is later than all that the ledger knows."""
        return self._promoted() + _HOPE

    def _is_later(self, first_run: datetime | None) -> bool:
        """Whether the dataset is younger than the failover, and so has lost nothing by it."""
        return first_run is not None and first_run > self._promoted() + _LAG

    def _is_hoped_for(self, one: Unsearched) -> bool:
        """Whether somebody may come who has a key of the account, as nobody at work has."""
        was_used = one.latest is not None and one.latest > self._promoted() - _LAG
        until = self._hoped_until()
        if was_used and until > self._context.runtime.clock.now().utc:
            self._context.notice_once(
                f"nothing is bought: what account {one.account[:6]} made before the database's"
                " failover is not known, and no process at work has a key of it that is accepted;"
                f" start one that has, or its jobs may be paid again from {until:%H:%M:%S} UTC on"
            )
            return True
        return False
