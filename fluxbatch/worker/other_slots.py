"""Slots of our lanes that other datasets' creates hold.

Owns how long they do: from when the create left, until a listing shows nothing unfinished that
could be it, or its prediction has ended, or `provider.deadline` has passed. A run waits for
none of them at its end. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus

from fluxbatch.domain.job import PredictionId
from fluxbatch.errors import ApiError
from fluxbatch.provider import Status
from fluxbatch.scheduler.lane import Lane
from fluxbatch.scheduler.lane_state_file import KeptCreate, LaneFile
from fluxbatch.scheduler.window_recovery import age_s
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.unknown.create import LostElsewhere
from fluxbatch.worker.unknown.resolve import UnknownResolver

_POLL_S = 2.0


class OtherSlots:
    """Those of one run."""

    def __init__(self, context: WorkerContext, resolver: UnknownResolver) -> None:
        self._context = context
        self._resolver = resolver
        self._watching: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch what `take` is given, until cancelled."""
        async with anyio.create_task_group() as self._watching:
            task_status.started()
            await anyio.sleep_forever()

    def take(self, lane: Lane, kept: KeptCreate) -> None:
        """Its slot is held from here on."""
        assert self._watching is not None
        self._watching.start_soon(self._watch, lane, kept, name="other-slot")

    async def _watch(self, lane: Lane, kept: KeptCreate) -> None:
        context = self._context
        deadline_s = context.settings.provider.deadline * (1 if kept.provider_id is None else 2)
        now = context.runtime.clock.now()
        left_s = max(deadline_s - age_s(kept.at, now), 0.0)
        async with context.lanes.held(lane.account):
            lane.others[kept.dataset, kept.prediction] = (kept, now.utc + timedelta(seconds=left_s))
            try:
                with anyio.move_on_after(left_s):
                    await self._ended(lane, kept)
            finally:
                del lane.others[kept.dataset, kept.prediction]
        context.journals[lane.account].note(partial(_free, kept.prediction, kept.dataset))

    async def _ended(self, lane: Lane, kept: KeptCreate) -> None:
        if kept.provider_id is None:
            await self._resolver.freed(LostElsewhere(lane.account, kept))
            return
        has_ended = False
        while not has_ended:
            await anyio.sleep(self._context.jittered(_POLL_S))
            has_ended = await self._has_ended(lane, PredictionId(kept.provider_id))

    async def _has_ended(self, lane: Lane, name: PredictionId) -> bool:
        if not lane.keys:
            return False
        try:
            prediction = await self._context.clients[lane.keys[0].fingerprint].get(name)
        except ApiError:
            return False
        return prediction.status is not Status.NOT_FINISHED


def _free(prediction: int, dataset: str, file: LaneFile) -> None:
    file.free(prediction, dataset)
