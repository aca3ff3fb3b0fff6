"""The lanes that one process of a shared run holds: a fair share, and what was left on each.

Owns when a lane is taken, opened and handed over. Its lease is kept by `membership`.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.engine.membership.after_failover import AfterFailover
from fluxbatch.engine.membership.membership import POLL_S, Membership
from fluxbatch.errors import HeldElsewhere
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.recovery import unfinished_outputs
from fluxbatch.ledger.sharing.lanes import (
    HeldLane,
    Lease,
    give_back_lanes,
    lanes_of,
    take_lanes,
)
from fluxbatch.ledger.sharing.workers import BEAT_S, claim_these
from fluxbatch.scheduler.lane import Lane
from fluxbatch.worker.context import OutputsToFetch
from fluxbatch.worker.recover import Recovery

_DRAIN_S = 30.0
"""How long a lane that is another's share waits for what runs on it."""


class HeldLanes:
    """Those of one membership; what is taken up goes on in *work*."""

    def __init__(
        self,
        member: Membership,
        recovery: Recovery,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
    ) -> None:
        self._member = member
        self._context = member.in_use()
        self._recovery = recovery
        self._work = work
        self._deliver = deliver
        self._after_failover = AfterFailover(member)
        self._closed: set[str] = set()
        """Accounts that are taken up, and create nothing before a failover's loss is known."""

    async def hold(self, *, no_wait: bool) -> None:
        """Take a fair share of the lanes, with what was left on each, until the queue ends."""
        context = self._context
        with self._deliver:
            if no_wait:
                self._refuse_to_wait(
                    await self._member.call(lambda db: lanes_of(db, self._member.accounts))
                )
            while not context.queue.is_closed:
                await self._give_back_what_is_out()
                await self._open()
                self._member.taking_up = len(self._closed)
                if not self._member.page_jobs():
                    context.lanes.send_away()  # their jobs are for processes that have a lane
                missing = self._share() - len(self._mine())
                if missing > 0:
                    self._member.taking_up = missing
                    try:
                        await self._take(self._member.usable_accounts(), missing)
                    finally:
                        self._member.taking_up = len(self._closed)
                elif missing < 0:
                    await self._hand_over(-missing)
                await self._fetch_for_what_is_out()
                with anyio.move_on_after(
                    BEAT_S * (0.5 + 0.5 * self._member.runtime.random.random())
                ):
                    await context.queue.closed.wait()

    def _mine(self) -> list[Lane]:
        """Lanes that are held and create."""
        context = self._context
        held = [lane for lane in context.lanes.all if lane.account in context.leases]
        return [lane for lane in held if not lane.is_out]

    def _share(self) -> int:
        """Lanes for each worker that has their keys, rounded up."""
        shares = 0.0
        for account in self._member.usable_accounts():
            at_work = [o for o in self._member.others if account in o.accounts and not o.is_silent]
            shares += 1 / (1 + len(at_work))
        return math.ceil(shares - 1e-9)

    async def _take(self, accounts: frozenset[str], most: int) -> None:
        context = self._context
        wanted = accounts - set(context.leases)

        def take(db: Database) -> dict[str, int]:
            taken = take_lanes(db, self._member.worker, wanted, most)
            return self._member.busy_with(db, taken)

        taken = await self._member.change(take)
        for account, epoch in taken.items():
            context.leases[account] = Lease(self._member.worker, epoch)
            lane = context.lanes.lane(account)
            assert lane is not None
            lane.forget()
            await self._after_failover.search(account)
            jobs = await self._recovery.take_up_lane(lane, self._work, self._deliver)
            await self._member.change(partial(claim_these, worker=self._member.worker, jobs=jobs))
            self._closed.add(account)
            await self._open()

    async def _open(self) -> None:
        """Let lanes create that were taken up, once no create of before can be bought again."""
        context = self._context
        if self._closed and await self._after_failover.is_settled():
            for lane in context.lanes.all:
                lane.is_open = lane.is_open or lane.account in self._closed & set(context.leases)
            self._closed.clear()
            context.lanes.changed()
            context.queue.look_again()

    async def _give_back_what_is_out(self) -> None:
        """Lanes whose every key the provider refuses: another process may have a better one."""
        for lane in self._context.lanes.all:
            is_idle = lane.account in self._context.leases and not lane.held
            if lane.is_out and is_idle and not await self._fetches_for(lane.account):
                await self._give_back(lane)

    async def _fetch_for_what_is_out(self) -> None:
        """What was made with keys that are refused by now is fetched without them."""
        lanes = self._context.lanes.all
        if out := {lane.account for lane in lanes if lane.is_out} - set(self._context.leases):
            left = frozenset([account for account in out if await self._fetches_for(account)])
            await self._take(left, len(left))

    async def _hand_over(self, excess: int) -> None:
        """Give the least busy lanes to other workers, each once nothing runs on it."""
        context = self._context
        mine = [lane for lane in self._mine() if lane.account not in self._closed]
        leaving = sorted(mine, key=lambda lane: lane.held)[:excess]
        for lane in leaving:
            lane.is_open = False
        for _ in range(int(_DRAIN_S / POLL_S)):
            for lane in [one for one in leaving if not one.held]:
                if not await self._fetches_for(lane.account):
                    leaving.remove(lane)
                    await self._give_back(lane)
            if not leaving or context.queue.is_closed:
                break
            await anyio.sleep(POLL_S)
        for lane in leaving:
            lane.is_open = True  # what runs there takes long: another time
        context.lanes.changed()

    async def _give_back(self, lane: Lane) -> None:
        member = self._member
        member.close_lane(lane.account)
        self._closed.discard(lane.account)
        await member.change(lambda db: give_back_lanes(db, member.worker, [lane.account]))

    async def _fetches_for(self, account: str) -> bool:
        """Whether outputs of its predictions are still to be stored."""
        outputs = await self._context.read(unfinished_outputs)
        return any(one.account == account for one in outputs)

    def _refuse_to_wait(self, lanes: Sequence[HeldLane]) -> None:
        """Raise `HeldElsewhere` where other datasets hold every account (`--no-wait`)."""
        theirs = [
            lane for lane in lanes if lane.dataset != self._member.dataset and not lane.is_expired
        ]
        if len(theirs) == len(self._member.accounts):
            raise HeldElsewhere(f"the keys are in use by dataset {theirs[0].dataset!r}")
