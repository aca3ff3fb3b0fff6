"""The recovery of what an earlier process left behind.

Owns the first minutes of a start: intents without an answer become unknown, running
predictions are adopted with their slots, generated ones are fetched from a freshly
read prediction, lanes remember their last window. Nothing is submitted here.
Source: docs/design/protocol.md 2 to 4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.domain.adoption import PRESUMED
from fluxbatch.domain.job import LIVE, JobState, PredictionId, PredictionState, as_sent
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.timestamps import later
from fluxbatch.ledger.operations.outputs import WantedOutput
from fluxbatch.ledger.operations.transitions import Evidence, TransitionResult
from fluxbatch.ledger.queries.recovery import (
    LivePrediction,
    RecentCreate,
    UnfinishedOutput,
    live_predictions,
    prediction_of,
    recent_creates,
    recent_durations,
    unfinished_outputs,
)
from fluxbatch.scheduler.lane import Lane
from fluxbatch.scheduler.lane_state_file import KeptCreate, record_ended
from fluxbatch.scheduler.window_recovery import SeenCreate, close_for_a_window, counts_from_s
from fluxbatch.worker.context import OutputsToFetch, TrackedPrediction, WorkerContext
from fluxbatch.worker.inputs import sent_seed
from fluxbatch.worker.job_backoff import backoff_s
from fluxbatch.worker.other_slots import OtherSlots
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.submit import follow
from fluxbatch.worker.unknown.create import UnknownCreate
from fluxbatch.worker.unknown.resolve import UnknownResolver

_DURATIONS = 200
_RECENT_WINDOWS = 20
"""More than one: a create given up counts later than those made after it, and refused ones not."""


class Recovery:
    """Takes up predictions that were alive when an earlier process ended."""

    def __init__(
        self,
        context: WorkerContext,
        resolver: UnknownResolver,
        others: OtherSlots,
    ) -> None:
        self._context = context
        self._resolver = resolver
        self._others = others
        self.done = anyio.Event()
        """The recovery of what an earlier process left behind."""

    async def take_up(
        self,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
        *,
        following: TaskGroup | None = None,
        adopting: Collection[PredictionState] = LIVE,
        sweeping: bool = True,
    ) -> None:
        """Take up what an earlier process left behind; it goes on in *work*.

        Predictions in a state of *adopting* are followed there too, or in *following*.
        """
        context = self._context
        live = await context.read(live_predictions)
        unfinished = await context.read(unfinished_outputs)
        if sweeping:
            await context.runtime.to_thread(partial(self._sweep, unfinished))
        await self.learn_durations()
        for lane in context.lanes.all:
            await self.seed(lane)
        await self.mark_unanswered(live)
        for one in live:
            if one.state in adopting:
                group, name = following or work, f"adopted-{one.seq}"
                group.start_soon(self.adopt, one, deliver.clone(), name=name)
        for delivery in unfinished_deliveries(context, unfinished, context.runtime.clock.now()):
            work.start_soon(_send, delivery, deliver.clone(), name="unfinished")
        # The adopted hold their slots before anything new is submitted.
        await anyio.lowlevel.checkpoint()
        self.done.set()

    async def take_up_lane(
        self, lane: Lane, work: TaskGroup, deliver: MemoryObjectSendStream[OutputsToFetch]
    ) -> list[int]:
        """Take up what was left on one lane by whoever held it before; answers its jobs' numbers.

        Nothing else of the dataset is touched: other processes are at work on it.
        """
        context = self._context
        live = [one for one in await context.read(live_predictions) if one.account == lane.account]
        unfinished = [
            one for one in await context.read(unfinished_outputs) if one.account == lane.account
        ]
        await self.seed(lane)
        await self.mark_unanswered(live)
        for one in live:
            work.start_soon(self.adopt, one, deliver.clone(), name=f"adopted-{one.seq}")
        for delivery in unfinished_deliveries(context, unfinished, context.runtime.clock.now()):
            work.start_soon(_send, delivery, deliver.clone(), name="unfinished")
        await anyio.lowlevel.checkpoint()
        self.done.set()
        return [one.job.seq for one in live]

    async def learn_durations(self) -> None:
        """How long executions took before, so that polls are placed well from the first on."""
        context = self._context
        durations = partial(recent_durations, model=context.card.slug, most=_DURATIONS)
        for given, duration_s in await context.read(durations):
            context.timing.remember(kind_of(given), [duration_s])

    async def seed(self, lane: Lane) -> None:
        """The lane remembers what the provider may still count, and the slots others hold."""
        context = self._context
        most = _RECENT_WINDOWS * lane.creates.limit
        recent = await context.read(partial(recent_creates, account=lane.account, most=most))
        seed = partial(seed_lane, context, lane, recent)
        for kept in await context.runtime.to_thread(seed):
            self._others.take(lane, kept)

    async def take_up_unreadable(
        self, work: TaskGroup, deliver: MemoryObjectSendStream[OutputsToFetch]
    ) -> None:
        """There is another key: try again what none could be asked about with."""
        context = self._context
        left, context.unreadable = context.unreadable, set()
        for seq in sorted(left):
            one = await context.read(partial(prediction_of, seq=seq))
            if one is not None and one.state is PredictionState.RUNNING:
                work.start_soon(self.adopt, one, deliver.clone(), name=f"adopted-{seq}")

    def _sweep(self, unfinished: Sequence[UnfinishedOutput]) -> None:
        """Temporary files, and files a crash kept out of the ledger: both are fetched again."""
        self._context.images.sweep()
        for one in unfinished:
            self._context.images.discard(one.stem)

    async def mark_unanswered(self, live: Sequence[LivePrediction]) -> None:
        """An intent without an answer may have left: from now on it is unknown."""
        for one in live:
            if one.state is PredictionState.SUBMITTING:
                await self._context.move(
                    one.seq,
                    PredictionEvent.NO_ANSWER,
                    Evidence(
                        reason="the process ended before the answer", given_up=self._gave_up(one)
                    ),
                    job=one.job.job_id,
                    lane=one.key_label,
                )

    def _gave_up(self, one: LivePrediction) -> Timestamp | None:
        """When nobody waited for its answer any more, at the latest."""
        now, longest_s = self._context.runtime.clock.now(), self._context.longest_s
        if one.intended.boot_id != now.boot_id:
            return None
        record_ended = later(one.intended, longest_s)
        return record_ended if record_ended.boot_s < now.boot_s else now

    async def adopt(
        self, one: LivePrediction, deliver: MemoryObjectSendStream[OutputsToFetch]
    ) -> None:
        """Follow one prediction to its end, its slot held."""
        context = self._context
        mailbox = context.webhooks.expecting(one.seq, one.intended)
        with context.queue.busy(), deliver, mailbox:
            async with AsyncExitStack() as slot:
                if not one.at_risk:
                    await slot.enter_async_context(context.lanes.held(one.account))
                moved, tracked = await self._found(one)
                if one.at_risk and tracked is not None:
                    await slot.enter_async_context(context.lanes.held(one.account))
                delivery = None
                if tracked is not None:
                    moved, delivery = await follow(context, tracked)
            lane = context.lanes.lane(one.account)  # it may have come meanwhile
            if lane is not None and not moved.state.is_live:
                context.journals[one.account].note(partial(record_ended, one.seq))
                context.lanes.settled(lane)
            if moved.job_state is JobState.PENDING:
                context.queue.put(one.job, backoff_s(context, moved))
            if delivery is None and moved.job_state is JobState.GENERATED:
                # Its end was written down by whoever had held the lane, and stood still.
                delivery = await self._left_to_fetch(one.seq)
            if delivery is not None:
                await deliver.send(delivery)

    async def _left_to_fetch(self, seq: int) -> OutputsToFetch | None:
        unfinished = [
            output
            for output in await self._context.read(unfinished_outputs)
            if output.prediction_seq == seq
        ]
        now = self._context.runtime.clock.now()
        return next(iter(unfinished_deliveries(self._context, unfinished, now)), None)

    async def _found(
        self, one: LivePrediction
    ) -> tuple[TransitionResult, TrackedPrediction | None]:
        if one.state is PredictionState.RUNNING and one.provider_id is not None:
            running = TransitionResult(PredictionState.RUNNING, JobState.ACTIVE)
            return running, tracked_prediction(one, one.provider_id)
        moved, tracked = await self._resolver.resolve(self._unanswered(one))
        if tracked is None and moved.state is PredictionState.RUNNING:
            # Whoever had sent it stood still, and has said so itself meanwhile.
            live = {other.seq: other for other in await self._context.read(live_predictions)}
            known = live.get(one.seq)
            if known is not None and known.provider_id is not None:
                tracked = tracked_prediction(known, known.provider_id)
        return moved, tracked

    def _unanswered(self, one: LivePrediction) -> UnknownCreate:
        seed = one.seed if one.seed is not None else sent_seed(self._context, one.job)
        file_inputs = self._context.card_of(one.job.model).file_inputs
        sent = as_sent(one.job.input, file_inputs, one.control_url, seed)
        return UnknownCreate(
            one.seq, one.job, sent, one.account, one.key_fingerprint, one.key_label, one.intended,
            one.left, one.given_up or self._gave_up(one),
        )  # fmt: skip


def unfinished_deliveries(
    context: WorkerContext, outputs: Sequence[UnfinishedOutput], intended: Timestamp
) -> list[OutputsToFetch]:
    """Outputs that are paid and not stored, by prediction; their URLs must be asked for."""
    grouped: dict[int, list[UnfinishedOutput]] = {}
    for output in outputs:
        grouped.setdefault(output.prediction_seq, []).append(output)
    return [
        OutputsToFetch(
            TrackedPrediction(
                seq,
                PredictionId(group[0].provider_id),
                group[0].job_id,
                group[0].account,
                group[0].key_fingerprint,
                group[0].key_fingerprint[:6],
                intended.utc,
            ),
            tuple(WantedOutput(output.seq, output.number, output.stem) for output in group),
            group[0].edition,
            group[0].attempt,
        )
        for seq, group in grouped.items()
    ]


def seed_lane(
    context: WorkerContext, lane: Lane, recent: Sequence[RecentCreate]
) -> list[KeptCreate]:
    """Count what the provider may still count on *lane*; answers other datasets' predictions
    that may still be alive. Blocks.

    The ledger knows this dataset's creates, the lane's file the other datasets' as well.
    """
    file = context.journals[lane.account].file
    now, monotonic = context.runtime.clock.now(), context.now_s()
    lag_s = context.settings.reconcile.lag
    longest_s = context.longest_s
    kept = [create for create in file.kept() if create.dataset != file.dataset]
    seen = [SeenCreate(one.intended, one.answered, one.given_up) for one in recent]
    seen += [
        SeenCreate(one.at, None if one.state == "left" else one.at) for one in kept if one.counted
    ]
    for create in seen:
        lane.window.remember(
            counts_from_s(create, now, monotonic, lag_s=lag_s, longest_s=longest_s)
        )
    if file.is_new and any(one.intended.boot_id == now.boot_id for one in recent):
        # The file was there when these left, and has been removed since.
        close_for_a_window(lane.window, monotonic)
    file.forget_ended(now)
    return [create for create in kept if create.holds_slot]


def tracked_prediction(one: LivePrediction, provider_id: str) -> TrackedPrediction:
    """The live prediction in the form that the worker follows."""
    return TrackedPrediction(
        one.seq,
        PredictionId(provider_id),
        one.job.job_id,
        one.account,
        one.key_fingerprint,
        one.key_label,
        one.intended.utc,
        is_presumed=one.adopted in PRESUMED,
        kind=kind_of(one.job.input),
        outputs_wanted=one.job.outputs_wanted,
    )


async def _send(delivery: OutputsToFetch, deliver: MemoryObjectSendStream[OutputsToFetch]) -> None:
    with deliver:
        await deliver.send(delivery)
