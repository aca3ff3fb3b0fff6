"""The part one process has in a shared run: its leases, its claims, and its word of the others.

Owns the heartbeat. Every three seconds it says that this process lives, keeps its lanes, buries
whoever is silent, and learns what holds for the run. A lane that was lost ends this membership:
whoever holds it takes up what runs, and this process joins anew.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.domain.job import PredictionState
from fluxbatch.engine.membership.server_time import learn_server_time
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.infra.runtime import Runtime
from fluxbatch.infra.shared_clock import SharedClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.queries import recovery
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob
from fluxbatch.ledger.sharing import shared_runs
from fluxbatch.ledger.sharing.lanes import (
    HeldLane,
    give_back_lanes,
    keep_lane,
    lanes_of,
    renew_lanes,
    take_lanes,
)
from fluxbatch.ledger.sharing.side_connection import SideConnection
from fluxbatch.ledger.sharing.workers import (
    BEAT_S,
    Worker,
    WorkerGone,
    are_jobs_unclaimed,
    be_seen,
    bury,
    claim_jobs,
    described,
    free_claims,
    have_keys_of,
    join,
    leave,
    workers,
)
from fluxbatch.scheduler.budget import admit
from fluxbatch.worker.context import WorkerContext

_T = TypeVar("_T")
_Found = TypeVar("_Found", bound=Sized)
_FINISHED = "finished"
"""Nothing runs here any more, and nothing is fetched."""
POLL_S = 0.5
_PAGE_SLOTS = 2
"""Jobs claimed at once, for each slot that is held."""


class _Left(NamedTuple):
    """Accounts on which something is left."""

    running: frozenset[str]
    to_fetch: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Beat:
    """What one heartbeat learned."""

    held: frozenset[str]
    others: list[Worker]
    lanes: list[HeldLane]
    stopped: tuple[ExitCode, str] | None
    has_room: bool
    """The caps have room for one more create."""


@dataclass(slots=True)
class Membership:
    """One process of a shared run."""

    worker: str
    dataset: str
    keys: Sequence[ApiKey]
    connection: SideConnection
    runtime: Runtime
    clock: SharedClock
    run_seq: int | None = None
    manifest_seq: int = 0
    context: WorkerContext | None = None
    others: list[Worker] = field(default_factory=list)
    _is_eldest: bool = False
    taking_up: int = 0
    """Lanes that are taken, of which nothing that was left on them is followed yet."""
    _waits: str | None = None
    _told: frozenset[str] = frozenset()
    """The accounts that the others know this process to have a usable key of."""
    failover: int = 0
    """The generation of the server's clock that its latest promotion began."""
    _hurry: anyio.Event = field(default_factory=anyio.Event)

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(key.account for key in self.keys)

    def usable_accounts(self) -> frozenset[str]:
        """Those of which the provider does not refuse every key."""
        if self.context is None:
            return self.accounts
        lanes = (self.context.lanes.lane(account) for account in self.accounts)
        return frozenset(lane.account for lane in lanes if lane is not None and not lane.is_out)

    def is_eldest(self) -> bool:
        """Whether no other process of the run that lives has joined before, as last seen."""
        return self._is_eldest

    async def join(self) -> None:
        """Be at work from now on; raises `HeldElsewhere` where the others forbid it."""
        await self.call(self._learn_time)
        await self.change(lambda db: join(db, self.worker, "run", self.accounts), in_turn=True)
        self._told = self.accounts

    async def leave(self) -> None:
        """Nothing is held any more. Where the database is gone, the others find that out."""

        def change(db: Database) -> None:
            give_back_lanes(db, self.worker, self.accounts)
            leave(db, self.worker)

        with anyio.CancelScope(shield=True), suppress(FluxbatchError):
            await self.change(change)

    def works_in(self, context: WorkerContext) -> None:
        """The run's parts are there; no lane is open yet."""
        self.context = context
        context.is_shared = True
        context.is_eldest = self.is_eldest
        self.run_seq, self.manifest_seq = context.run.seq, context.run.manifest_seq
        for lane in context.lanes.all:
            lane.is_open = False
        context.stop.on_stop(self._hurry.set)

    async def beat(self) -> None:
        """Live, until cancelled; raises `WorkerGone` once a lane is lost."""
        while True:
            await self._beat_once()
            with anyio.move_on_after(BEAT_S * (0.8 + 0.4 * self.runtime.random.random())):
                await self._hurry.wait()
                self._hurry = anyio.Event()

    async def _beat_once(self) -> None:
        context = self.context
        stop = (context.stop.code, context.stop.reason) if context is not None else None
        found = await self._learn(stop)
        self.others = [one for one in found.others if one.worker != self.worker]
        self._is_eldest = self.worker == next(
            one.worker for one in found.others if not one.is_silent
        )
        if context is None:
            return
        context.standing_by = "" if context.leases else self._standing_by(found.lanes)
        lost = set(context.leases) - found.held
        if lost:
            for account in lost:
                self.close_lane(account)
            raise WorkerGone("a lane's lease was not renewed in time; this worker joins anew")
        self._open_renewed(context)
        if found.stopped is not None:
            context.stop(*found.stopped)
        if not context.queue.is_closed:
            if found.has_room:
                context.queue.unblock()
            context.queue.look_again()

    def _open_renewed(self, context: WorkerContext) -> None:
        """A lease had run out when an intent asked for it, and nobody else had taken the lane."""
        for account in context.in_doubt & set(context.leases):
            lane = context.lanes.lane(account)
            if lane is not None:
                lane.is_open = True
                context.lanes.changed()
        context.in_doubt.clear()

    def _standing_by(self, lanes: Sequence[HeldLane]) -> str:
        """Who holds the accounts that this process has the keys of."""
        names = {one.worker: described(one) for one in self.others}
        holders = {
            names.get(lane.holder or "", f"dataset {lane.dataset!r} of the same database")
            for lane in lanes
            if lane.holder is not None and not lane.is_expired
        }
        if not holders:
            return ""
        return f"this process stands by: its accounts are in use by {', '.join(sorted(holders))}"

    async def _learn(self, stop: tuple[ExitCode | None, str] | None = None) -> _Beat:
        """One heartbeat: say that this process lives, and learn how it stands."""
        failover = self.failover
        await self.call(self._learn_time)
        if self.failover != failover:  # a pooler may hide that it is another server
            raise WorkerGone("the database's server was promoted; this worker joins anew")
        usable = self.usable_accounts()
        found = await self.change(lambda db: self._learned(db, stop, usable))
        self._told = usable
        return found

    def _learned(
        self, db: Database, stop: tuple[ExitCode | None, str] | None, usable: frozenset[str]
    ) -> _Beat:
        be_seen(db, self.worker, self._waits)
        if usable != self._told:
            have_keys_of(db, self.worker, usable)
        held = renew_lanes(db, self.worker)
        bury(db, self.worker)
        stopped = None
        if self.run_seq is not None:
            if stop is not None and stop[0] is ExitCode.STOPPED:
                shared_runs.stop_run(db, self.run_seq, stop[0], stop[1])
            stopped = shared_runs.stopped(db, self.run_seq)
        everybody, lanes = workers(db), lanes_of(db, self.accounts)
        return _Beat(held, everybody, lanes, stopped, self._has_room(db))

    def _has_room(self, db: Database) -> bool:
        """Asked while a cap is in the way: another process may have freed some of it."""
        context = self.context
        if context is None or not context.queue.blocked_by:
            return False
        lines = read_lines(db, context.run.run_id, context.budget_day())
        return admit(lines, context.reserve) is None

    def _learn_time(self, db: Database) -> None:
        self.failover = learn_server_time(db, self.clock)

    def close_lane(self, account: str) -> None:
        context = self.in_use()
        context.leases.pop(account, None)
        lane = context.lanes.lane(account)
        if lane is not None:
            lane.is_open = False

    def page_jobs(self) -> int:
        """How many jobs are claimed at once: none where no lane here may create any."""
        lanes = self.in_use().lanes.all
        return _PAGE_SLOTS * sum(lane.slots.limit for lane in lanes if lane.is_usable)

    async def page(self, cursor: QueueCursor, most: int) -> tuple[list[QueuedJob], QueueCursor]:
        """Jobs that are this worker's from now on."""
        if not most:
            return [], cursor

        def claim(db: Database) -> list[QueuedJob]:
            return self.busy_with(db, claim_jobs(db, self.worker, self.manifest_seq, most))

        return await self.change(claim), cursor

    def busy_with(self, db: Database, found: _Found) -> _Found:
        """With what was *found* this process is busy: the others see both or neither."""
        if found:
            self._waits = None
            be_seen(db, self.worker, None)
        return found

    async def takes_import(self) -> bool:
        """Whether this process may read the manifest; its heartbeat keeps that."""
        name = self._import_lease
        return bool(await self.change(lambda db: take_lanes(db, self.worker, [name], 1)))

    def keeps_import(self, db: Database) -> None:
        """Nobody else may take the import before this transaction ends; raises `WorkerGone` where
        somebody may have done so, because this process stood still."""
        if not keep_lane(db, self.worker, self._import_lease):
            raise WorkerGone("another worker reads the manifest by now; this one joins anew")

    async def gives_import_back(self) -> None:
        with anyio.CancelScope(shield=True), suppress(FluxbatchError):
            name = self._import_lease
            await self.change(lambda db: give_back_lanes(db, self.worker, [name]))

    @property
    def _import_lease(self) -> str:
        """The name of a lease that no account has."""
        return f"import of {self.dataset}"

    async def others_finish(self) -> bool:
        """This process is done; wait for those that still fetch, or are buried. Answers whether
        all of them have finished: what one that vanished had at hand is left."""
        self._waits = _FINISHED
        at_work = frozenset[str]()
        have_all_finished = True
        while True:
            found = await self._learn()
            self.others = [one for one in found.others if one.worker != self.worker]
            have_all_finished &= at_work <= {one.worker for one in self.others}
            ours = [one for one in self.others if one.run_seq == self.run_seq]
            at_work = frozenset(one.worker for one in ours if one.waits != _FINISHED)
            if not at_work:
                return have_all_finished and not self._are_lanes_orphaned(found)
            await anyio.sleep(POLL_S)

    def _are_lanes_orphaned(self, found: _Beat) -> bool:
        """Whether somebody who has vanished held a lane to the end."""
        alive = {None, *(one.worker for one in found.others)}
        ours = [lane for lane in found.lanes if lane.dataset == self.dataset]
        return any(lane.holder not in alive for lane in ours)

    async def is_something_left(self) -> bool:
        """Whether something runs, or waits to be fetched, on a lane of ours in nobody's hands:
        its holder has vanished, or another dataset has it by now."""

        def look(db: Database) -> bool:
            live = recovery.live_predictions(db)
            left = _left(db, [o for o in live if o.state is not PredictionState.UNKNOWN])
            busy = left.running | left.to_fetch
            alive = {self.worker, *(one.worker for one in workers(db))}
            lanes = [one for one in lanes_of(db, self.accounts) if one.account in busy]
            return not all(self._is_in_hands(lane, alive, left) for lane in lanes)

        return await self.call(look)

    async def others_done(self, waits: str) -> tuple[bool, str]:
        """This process has nothing to do: whether that is so of all of them, and the cap that is
        waited for."""
        if self.taking_up:
            return False, ""
        self._waits = waits
        if not waits:
            await self.change(self._claim_nothing)
        # First: whoever has claimed a job since then is seen to be busy, or has vanished.
        before, has_unclaimed, left = await self.call(self._left_to_do)
        found = await self._learn()
        self.others = [one for one in found.others if one.worker != self.worker]
        if found.has_room:
            self.in_use().queue.unblock()
            return False, ""
        alive = {self.worker, *(one.worker for one in self.others)}
        ours = [one for one in self.others if one.run_seq == self.run_seq]
        reasons = [one.waits for one in ours if one.waits and one.waits != _FINISHED]
        is_done = (
            before <= alive  # else what one of them had claimed may be free by now
            and all(one.waits is not None for one in ours)
            and all(self._is_in_hands(lane, alive, left) for lane in found.lanes)
            and (bool(waits or reasons) or not has_unclaimed)
        )
        why = waits or (reasons[0] if reasons else "")
        is_done &= not self.taking_up
        if is_done and why:
            await self.call(lambda db: self._stop(db, ExitCode.STOPPED, why))
        elif found.stopped is not None:
            self.in_use().stop(*found.stopped)
        return is_done, why

    def _stop(self, db: Database, code: ExitCode, reason: str) -> None:
        assert self.run_seq is not None
        shared_runs.stop_run(db, self.run_seq, code, reason)

    def _is_in_hands(self, lane: HeldLane, alive: Collection[str], left: _Left) -> bool:
        """Whether nobody has to take the lane up before the run may end."""
        ours = self.in_use().lanes.lane(lane.account)
        if ours is None or lane.holder in alive:
            return True
        if ours.is_out:
            return lane.account not in left.to_fetch
        is_others = lane.dataset != self.dataset and not lane.is_expired  # another dataset's run
        return is_others and lane.account not in left.to_fetch | left.running

    def _claim_nothing(self, db: Database) -> None:
        """Nothing is in hand here: what was claimed and let go is anybody's."""
        if self._waits is not None:
            free_claims(db, self.worker)

    def _left_to_do(self, db: Database) -> tuple[frozenset[str], bool, _Left]:
        """Who is at work, whether jobs are unclaimed, and what whoever holds a lane takes up."""
        at_work = frozenset(one.worker for one in workers(db))
        left = _left(db, recovery.live_predictions(db))
        return at_work, are_jobs_unclaimed(db, self.manifest_seq), left

    async def call(self, query: Callable[[Database], _T]) -> _T:
        return await self.runtime.to_thread(partial(self.connection, query))

    async def change(self, change: Callable[[Database], _T], *, in_turn: bool = False) -> _T:
        call = partial(self.connection.transaction, change, in_turn=in_turn)
        return await self.runtime.to_thread(call)

    def in_use(self) -> WorkerContext:
        """The run's parts, once `works_in` has brought them."""
        assert self.context is not None
        return self.context


def _left(db: Database, live: Sequence[recovery.LivePrediction]) -> _Left:
    """Where something of *live* runs, and where outputs are still to be fetched."""
    running = frozenset(one.account for one in live if not one.at_risk)
    return _Left(running, frozenset(one.account for one in recovery.unfinished_outputs(db)))
