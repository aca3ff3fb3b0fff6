"""The part one process has in a shared run: its leases, its claims, and its word of the others.

Owns the heartbeat. Every three seconds it says that this process lives, keeps its lanes, buries
whoever is silent, and learns what holds for the run. A lane that was lost ends this membership:
whoever holds it takes up what runs, and this process joins anew.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.dataset.lane_record import SideConnection
from fluxbatch.errors import ExitCode, FluxbatchError, HeldElsewhere
from fluxbatch.infra.runtime import Runtime
from fluxbatch.infra.shared_clock import SharedClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob
from fluxbatch.ledger.queries.recovery import unfinished_outputs
from fluxbatch.ledger.sharing import shared_runs
from fluxbatch.ledger.sharing.lanes import (
    HeldLane,
    Lease,
    give_back_lanes,
    lanes_of,
    renew_lanes,
    take_lanes,
)
from fluxbatch.ledger.sharing.server_clock import advance_generation, read_server_time
from fluxbatch.ledger.sharing.workers import (
    BEAT_S,
    Worker,
    WorkerGone,
    are_jobs_unclaimed,
    be_seen,
    bury,
    claim_jobs,
    claim_these,
    described,
    join,
    leave,
    workers,
)
from fluxbatch.scheduler.budget import admit
from fluxbatch.scheduler.lane import Lane
from fluxbatch.worker.context import OutputsToFetch, WorkerContext
from fluxbatch.worker.recover import Recovery

_T = TypeVar("_T")
_Found = TypeVar("_Found", bound=Sized)
_DRAIN_S = 30.0
"""How long a lane that is another's share waits for what runs on it."""
_FINISHED = "finished"
"""Nothing runs here any more, and nothing is fetched."""
_POLL_S = 0.5
_PAGE_SLOTS = 2
"""Jobs claimed at once, for each slot that is held."""


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
    accounts: frozenset[str]
    connection: SideConnection
    runtime: Runtime
    clock: SharedClock
    run_seq: int | None = None
    manifest_seq: int = 0
    context: WorkerContext | None = None
    others: list[Worker] = field(default_factory=list)
    _waits: str | None = None
    _hurry: anyio.Event = field(default_factory=anyio.Event)

    async def join(self) -> None:
        """Be at work from now on; raises `HeldElsewhere` where the others forbid it."""
        await self._call(self._learn_time)
        await self._change(lambda db: join(db, self.worker, "run", self.accounts), in_turn=True)

    async def leave(self) -> None:
        """Nothing is held any more. Where the database is gone, the others find that out."""

        def change(db: Database) -> None:
            give_back_lanes(db, self.worker, self.accounts)
            leave(db, self.worker)

        with anyio.CancelScope(shield=True), suppress(FluxbatchError):
            await self._change(change)

    def works_in(self, context: WorkerContext) -> None:
        """The run's parts are there; no lane is open yet."""
        self.context = context
        context.is_shared = True
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
        found = await self._call(lambda db: self._learned(db, stop))
        self.others = [one for one in found.others if one.worker != self.worker]
        if context is None:
            return
        context.standing_by = "" if context.leases else self._standing_by(found.lanes)
        lost = set(context.leases) - found.held
        if lost:
            for account in lost:
                self._close(account)
            raise WorkerGone("a lane's lease was not renewed in time; this worker joins anew")
        if found.stopped is not None:
            context.stop(*found.stopped)
        if not context.queue.is_closed:
            if found.has_room:
                context.queue.unblock()
            context.queue.look_again()

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

    def refuse_to_wait(self, lanes: Sequence[HeldLane]) -> None:
        """Raise `HeldElsewhere` where other datasets hold every account (`--no-wait`)."""
        theirs = [lane for lane in lanes if lane.dataset != self.dataset and not lane.is_expired]
        if len(theirs) == len(self.accounts):
            raise HeldElsewhere(f"the keys are in use by dataset {theirs[0].dataset!r}")

    def _learned(self, db: Database, stop: tuple[ExitCode | None, str] | None) -> _Beat:
        self._learn_time(db)
        db.begin()
        try:
            be_seen(db, self.worker, self._waits)
            held = renew_lanes(db, self.worker)
            bury(db, self.worker)
            if stop is not None and stop[0] is ExitCode.STOPPED and self.run_seq is not None:
                shared_runs.stop_run(db, self.run_seq, stop[0], stop[1])
            stopped = shared_runs.stopped(db, self.run_seq) if self.run_seq is not None else None
            everybody, lanes = workers(db), lanes_of(db, self.accounts)
            found = _Beat(held, everybody, lanes, stopped, self._has_room(db))
            db.commit()
        except BaseException:
            with suppress(FluxbatchError):
                db.rollback()
            raise
        return found

    def _has_room(self, db: Database) -> bool:
        """Asked while a cap is in the way: another process may have freed some of it."""
        context = self.context
        if context is None or not context.queue.blocked_by:
            return False
        lines = read_lines(db, context.run.run_id, context.budget_day())
        return admit(lines, context.reserve) is None

    def _learn_time(self, db: Database) -> None:
        """Blocks. A step of the server's clock, or a new timeline, begins another generation."""
        for _ in range(2):
            asked_s = self.clock.asked()
            told = read_server_time(db)
            answered_s = self.clock.asked()
            has_stepped = self.clock.has_stepped(asked_s, answered_s, told.now_s)
            if told.boot_id != self.clock.boot_id and not told.is_new_timeline:
                has_stepped = False  # another process has seen it before
            if not has_stepped and not told.is_new_timeline:
                break
            advance_generation(db, told.generation, is_failover=told.is_new_timeline)
        self.clock.set(asked_s, answered_s, told.now_s, told.began_s, told.boot_id)

    async def hold_lanes(
        self,
        recovery: Recovery,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
        *,
        no_wait: bool,
    ) -> None:
        """Take a fair share of the lanes, with what was left on each, until the queue ends."""
        context = self._context()
        with deliver:
            if no_wait:
                self.refuse_to_wait(await self._call(lambda db: lanes_of(db, self.accounts)))
            while not context.queue.is_closed:
                missing = self._share() - len(context.leases)
                if missing > 0:
                    await self._take(missing, recovery, work, deliver)
                elif missing < 0:
                    await self._hand_over()
                with anyio.move_on_after(BEAT_S * (0.5 + 0.5 * self.runtime.random.random())):
                    await context.queue.closed.wait()

    def _share(self) -> int:
        """Lanes for each worker that has their keys, rounded up."""
        usable = [lane.account for lane in self._context().lanes.all if not lane.is_out]
        shares = 0.0
        for account in usable:
            at_work = [o for o in self.others if account in o.accounts and not o.is_silent]
            shares += 1 / (1 + len(at_work))
        return math.ceil(shares - 1e-9)

    async def _take(
        self,
        most: int,
        recovery: Recovery,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
    ) -> None:
        context = self._context()
        wanted = [
            lane.account
            for lane in context.lanes.all
            if not lane.is_out and lane.account not in context.leases
        ]

        def take(db: Database) -> dict[str, int]:
            taken = take_lanes(db, self.worker, wanted, most)
            return self._busy_with(db, taken)

        taken = await self._change(take)
        for account, epoch in taken.items():
            context.leases[account] = Lease(self.worker, epoch)
            lane = context.lanes.lane(account)
            assert lane is not None
            lane.forget()
            jobs = await recovery.take_up_lane(lane, work, deliver)
            await self._change(partial(claim_these, worker=self.worker, jobs=jobs))
            lane.is_open = True
            context.lanes.changed()
        if taken:
            context.queue.look_again()

    async def _hand_over(self) -> None:
        """Give the least busy lane to another worker, once nothing runs on it."""
        context = self._context()
        mine = [lane for lane in context.lanes.all if lane.account in context.leases]
        lane = min(mine, key=lambda one: one.held)
        lane.is_open = False
        is_idle = False
        for _ in range(int(_DRAIN_S / _POLL_S)):
            is_idle = not lane.held and not await self._fetches_for(lane)
            if is_idle or context.queue.is_closed:
                break
            await anyio.sleep(_POLL_S)
        if not is_idle:
            lane.is_open = True  # what runs there takes long: another time
            context.lanes.changed()
            return
        self._close(lane.account)
        await self._change(lambda db: give_back_lanes(db, self.worker, [lane.account]))

    async def _fetches_for(self, lane: Lane) -> bool:
        """Whether outputs of its predictions are still to be stored."""
        context = self._context()
        outputs = await context.read(unfinished_outputs)
        return any(context.accounts.get(one.key_fingerprint) == lane.account for one in outputs)

    def _close(self, account: str) -> None:
        context = self._context()
        context.leases.pop(account, None)
        lane = context.lanes.lane(account)
        if lane is not None:
            lane.is_open = False

    def page_jobs(self) -> int:
        """How many jobs are claimed at once."""
        lanes = self._context().lanes.all
        return _PAGE_SLOTS * sum(lane.slots.limit for lane in lanes if lane.is_open)

    async def page(self, cursor: QueueCursor, most: int) -> tuple[list[QueuedJob], QueueCursor]:
        """Jobs that are this worker's from now on."""
        if not most:
            return [], cursor

        def claim(db: Database) -> list[QueuedJob]:
            return self._busy_with(db, claim_jobs(db, self.worker, self.manifest_seq, most))

        return await self._change(claim), cursor

    def _busy_with(self, db: Database, found: _Found) -> _Found:
        """With what was *found* this process is busy: the others see both or neither."""
        if found:
            self._waits = None
            be_seen(db, self.worker, None)
        return found

    async def takes_import(self) -> bool:
        """Whether this process may read the manifest; its heartbeat keeps that."""
        name = self._import_lease
        return bool(await self._change(lambda db: take_lanes(db, self.worker, [name], 1)))

    async def gives_import_back(self) -> None:
        with anyio.CancelScope(shield=True), suppress(FluxbatchError):
            name = self._import_lease
            await self._change(lambda db: give_back_lanes(db, self.worker, [name]))

    @property
    def _import_lease(self) -> str:
        """The name of a lease that no account has."""
        return f"import of {self.dataset}"

    async def others_finish(self) -> None:
        """This process is done; wait for those that still fetch, or are buried."""
        self._waits = _FINISHED
        while True:
            found = await self._call(lambda db: self._learned(db, None))
            self.others = [one for one in found.others if one.worker != self.worker]
            if all(one.waits == _FINISHED for one in self.others if one.run_seq == self.run_seq):
                return
            await anyio.sleep(_POLL_S)

    async def others_done(self, waits: str) -> tuple[bool, str]:
        """This process has nothing to do: whether that is so of all of them, and the cap that is
        waited for."""
        self._waits = waits
        # First: whoever has claimed a job since then is seen to be busy.
        has_unclaimed = await self._call(self._has_unclaimed)
        found = await self._call(lambda db: self._learned(db, None))
        self.others = [one for one in found.others if one.worker != self.worker]
        if found.has_room:
            self._context().queue.unblock()
            return False, ""
        alive = {self.worker, *(one.worker for one in self.others)}
        ours = [one for one in self.others if one.run_seq == self.run_seq]
        reasons = [one.waits for one in ours if one.waits and one.waits != _FINISHED]
        is_done = (
            all(one.waits is not None for one in ours)
            and all(self._is_in_hands(lane, alive) for lane in found.lanes)
            and (bool(waits or reasons) or not has_unclaimed)
        )
        why = waits or (reasons[0] if reasons else "")
        if is_done and why:
            await self._call(lambda db: self._stop(db, ExitCode.STOPPED, why))
        elif found.stopped is not None:
            self._context().stop(*found.stopped)
        return is_done, why

    def _stop(self, db: Database, code: ExitCode, reason: str) -> None:
        assert self.run_seq is not None
        shared_runs.stop_run(db, self.run_seq, code, reason)

    def _is_in_hands(self, lane: HeldLane, alive: Collection[str]) -> bool:
        """Whether nobody has to take the lane up before the run may end."""
        ours = self._context().lanes.lane(lane.account)
        if ours is None or ours.is_out or lane.holder in alive:
            return True
        return lane.dataset != self.dataset and not lane.is_expired  # another dataset's run

    def _has_unclaimed(self, db: Database) -> bool:
        return are_jobs_unclaimed(db, self.manifest_seq)

    async def _call(self, query: Callable[[Database], _T]) -> _T:
        return await self.runtime.to_thread(partial(self.connection, query))

    async def _change(self, change: Callable[[Database], _T], *, in_turn: bool = False) -> _T:
        call = partial(self.connection.transaction, change, in_turn=in_turn)
        return await self.runtime.to_thread(call)

    def _context(self) -> WorkerContext:
        assert self.context is not None
        return self.context
