"""The follower of what is asked of a shared run: read twice a second, done, and told in the ledger.

Owns that a worker does what `fluxbatch ctl` wrote down, and says so, with how its lanes are. What
money depends on is looked at by each intent all the same. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio

from fluxbatch.engine.membership.membership import POLL_S, Membership
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.sharing.run_controls import RunControls, read_controls, tell_lanes
from fluxbatch.ledger.sharing.shared_runs import stop_run, stopped
from fluxbatch.ledger.sharing.workers import BEAT_S
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.run_control import lane_state, no_room_words, obey

_TELL_EVERY_S = BEAT_S
"""How old the figures of a lane may be that others see: each telling is a commit."""


class ControlFollower:
    """Follows for one membership."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self._obeyed: int | None = None
        self._told: list[dict[str, Any]] = []
        self._told_at = 0.0

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await anyio.sleep(POLL_S)
            if self._obeyed is not None:
                await self.look()

    async def look(self) -> None:
        """Do what is asked by now; the run's parts are there."""
        member, context = self._member, self._member.in_use()
        controls = await member.call(partial(read_controls, run_seq=context.run.seq))
        obey(context, controls)
        is_new = controls.number != self._obeyed
        if is_new and controls.number:
            stop = await member.change(partial(self._stops, controls), in_turn=True)
            if stop is not None:
                context.stop(*stop)
        await self._tell(context, controls.number, is_new=is_new)
        self._obeyed = controls.number

    def _stops(self, controls: RunControls, db: Database) -> tuple[ExitCode, str] | None:
        """Why the run buys nothing more; a cap below what is spent is a reason, also in a pause."""
        context = self._member.in_use()
        run = context.run
        line = next(one for one in read_lines(db, run.run_id, "") if one.scope == "run")
        spent = line.settled + line.estimated
        if controls.cap is not None and line.cap is not None and spent + context.reserve > line.cap:
            why = no_room_words(line.cap, context.reserve)
            stop_run(db, run.seq, ExitCode.STOPPED, why)
        return stopped(db, run.seq)

    async def _tell(self, context: WorkerContext, number: int, *, is_new: bool) -> None:
        now_s = context.now_s()
        if not is_new and now_s - self._told_at < _TELL_EVERY_S:
            return
        lanes = [{"account": lane.account, **lane_state(lane, now_s)} for lane in context.lanes.all]
        if is_new or lanes != self._told:
            worker = self._member.worker
            await self._member.change(lambda db: tell_lanes(db, worker, number, lanes))
            self._told, self._told_at = lanes, now_s
