"""The keys that a run at work in a folder is given (`fluxbatch ctl DIR add-key`).

Owns the order that keeps limits and money safe: the account's file is locked, what an earlier
process or another dataset left there holds its slots and its places in the window, the change is
in the ledger, and only then may anything leave with the key. Its text goes to the requests and
to whatever hides keys, and nowhere else. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.engine.lane_files import LaneFiles
from fluxbatch.engine.session import RunSession
from fluxbatch.errors import ConfigError, FluxbatchError, HeldElsewhere
from fluxbatch.scheduler.lane import Lane
from fluxbatch.scheduler.lane_state_file import LaneFile, LaneJournal
from fluxbatch.worker.context import OutputsToFetch
from fluxbatch.worker.run_control import limit_like, record_change


class AddedKeys:
    """Those of one run."""

    def __init__(self, session: RunSession, files: LaneFiles, journals: TaskGroup) -> None:
        """New lanes' files are written in *journals*."""
        self._session = session
        self._context = session.context
        self._files = files
        self._journals = journals
        self._taking_up: tuple[TaskGroup, MemoryObjectSendStream[OutputsToFetch]] | None = None
        """Where what no key could be asked about goes on; None: nothing is followed now."""

    async def serve(
        self,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until the queue is closed, what a new key can be asked about goes on in *work*."""
        with deliver:
            await self._session.recovery.take_up_unreadable(work, deliver)
            await anyio.lowlevel.checkpoint()
            self._taking_up = (work, deliver)
            task_status.started()
            try:
                await self._context.queue.closed.wait()
            finally:
                self._taking_up = None

    async def add(self, key: ApiKey, reason: str, *, dry_run: bool) -> bool:
        """Let creates leave with *key* too; whether that is new.

        Raises `ConfigError`, and `HeldElsewhere` where another dataset has the account.
        """
        if not self._is_new(key):
            return False
        if not dry_run:
            # What an earlier process left is in hand by then, and holds its slots.
            await self._session.recovery.done.wait()
            with anyio.CancelScope(shield=True), self._context.queue.busy():
                await self._add(key, reason)  # shielded: half a lane would be nobody's
        return True

    def _is_new(self, key: ApiKey) -> bool:
        context, keys = self._context, self._session.keys
        if context.stop.code is not None:
            raise ConfigError(f"the run is ending: {context.stop.reason}")
        if any(one.label == key.label and one != key for one in keys):
            raise ConfigError(f"another key is called {key.label!r}; give this one another label")
        known = next((one for one in keys if one == key), None)
        if known is None:
            return True
        if key.account not in {known.account, key.fingerprint}:
            raise ConfigError(f"the key is there already, as one of account {known.account!r}")
        lane = context.lanes.lane(known.account)
        return lane is None or known not in lane.keys

    async def _add(self, key: ApiKey, reason: str) -> None:
        """A known one comes back: its account was another dataset's, or the provider refused it."""
        session, context = self._session, self._context
        key = next((one for one in session.keys if one == key), key)
        lane, is_here = context.lanes.lane(key.account), True
        if lane is None:
            is_here = False
            file = await self._lane_file(key.account)
            journal = LaneJournal(file, context.runtime.to_thread)
            context.journals[key.account] = journal
            self._journals.start_soon(journal.run, name=f"journal-{key.account}")
        session.add_key(key)
        if lane is None:
            lane = self._new_lane(key.account)
            await session.recovery.seed(lane)
        if self._taking_up is not None:
            work, deliver = self._taking_up
            with deliver.clone() as ours:  # the queue may close meanwhile
                await session.recovery.take_up_unreadable(work, ours)
        await anyio.lowlevel.checkpoint()  # whatever is alive holds its slot by now
        await record_change(context, f"key {key.label} ({key.fingerprint[:6]}) added", reason)
        if is_here:
            lane.keys.append(key)
        lane.is_open = True
        context.grow()
        context.lanes.changed()

    async def _lane_file(self, account: str) -> LaneFile:
        try:
            return await self._context.runtime.to_thread(partial(self._files.take, account))
        except HeldElsewhere:
            raise
        except FluxbatchError as exc:  # a folder that cannot be written ends no run at work
            raise ConfigError(str(exc)) from exc

    def _new_lane(self, account: str) -> Lane:
        """As the others are by now, and still closed."""
        context, keys = self._context, self._session.keys
        lane = Lane(
            account,
            [one for one in keys if one.account == account],
            context.settings.limits,
            context.serial,
        )
        lane.is_open = False
        limit_like(lane, context.lanes.all[0])
        context.lanes.add(lane)
        return lane


@asynccontextmanager
async def taking_keys(session: RunSession, files: LaneFiles) -> AsyncIterator[AddedKeys]:
    """Let the run be given keys meanwhile."""
    async with anyio.create_task_group() as journals:
        yield AddedKeys(session, files, journals)
        journals.cancel_scope.cancel()
