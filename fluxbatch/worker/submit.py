"""The submission of one job: from the queue to its end at the provider.

Owns the order that keeps money safe: control image, slot and window, intent, create,
wait. Cancellation may strike at any await: the ledger already says what was about to
happen, so nothing is undone here and nothing is cancelled remotely.
Source: docs/design/protocol.md 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.domain.job import FailureClass, Input, JobState, PredictionId, PredictionState
from fluxbatch.domain.money import as_usd
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import (
    ApiError,
    ExitCode,
    HeldBack,
    KeyRefused,
    RejectedRequest,
    SinkError,
    TransientApiError,
)
from fluxbatch.events import PermitMeasured, PredictionMoved
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.timestamps import later
from fluxbatch.ledger.operations.intents import Intend, Intent, KeyUse, LedgerLost, OverBudget
from fluxbatch.ledger.operations.retry import RefuseJob
from fluxbatch.ledger.operations.transitions import TransitionResult
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.ledger.sharing.lanes import LaneLost, RunStopped
from fluxbatch.ledger.sharing.run_controls import RunControls
from fluxbatch.ledger.writer import Beside
from fluxbatch.provider import not_after
from fluxbatch.queue import Claim
from fluxbatch.scheduler.budget import admit
from fluxbatch.scheduler.lane import Lane, Permit
from fluxbatch.scheduler.lane_state_file import LaneChange, record_ended, record_left
from fluxbatch.worker.await_result import NoKeyWorks, until_ended
from fluxbatch.worker.context import (
    LEDGER_GONE,
    SEND_WITHIN_S,
    OutputsToFetch,
    Sending,
    TrackedPrediction,
    WorkerContext,
)
from fluxbatch.worker.create_outcome import PAUSE_UNREACHABLE_S, accepted, note_outcome, refused
from fluxbatch.worker.inputs import sent_input, sent_seed
from fluxbatch.worker.job_backoff import backoff_s
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.run_control import obey
from fluxbatch.worker.unknown.create import UnknownCreate
from fluxbatch.worker.unknown.resolve import UnknownResolver
from fluxbatch.worker.upload_cache import UploadCache

_SAME_ID = (
    "the provider answered two creates with the same id; what became of the second is unknown,"
    " and nothing more is bought"
)


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A create that was answered, one way or another."""

    moved: TransitionResult
    tracked: TrackedPrediction | None = None
    """Set while it runs."""
    left: Timestamp | None = None
    given_up: Timestamp | None = None
    repeats_id: bool = False
    """The provider did answer, with the id of another prediction: nothing can find this one."""


class Submitter:
    """The workers of one run; each serves one job at a time."""

    def __init__(self, context: WorkerContext, resolver: UnknownResolver) -> None:
        self._context = context
        self._resolver = resolver
        self._controls = UploadCache(context)
        self._uploading: set[anyio.CancelScope] = set()
        context.stop.on_stop(self._upload_no_more)

    async def serve(self, deliver: MemoryObjectSendStream[OutputsToFetch]) -> None:
        """Work until the queue hands out nothing more."""
        with deliver:
            while True:
                async with self._context.queue.take() as claim:
                    if claim.job is None:
                        return
                    delivery = await self._serve_one(claim, claim.job)
                    if delivery is not None:
                        # The slot is free by now: a slow disk holds this worker alone.
                        await deliver.send(delivery)

    async def _serve_one(self, claim: Claim, job: QueuedJob) -> OutputsToFetch | None:
        control_url: str | None = None
        try:
            if job.control_sha256 is not None:
                with anyio.CancelScope() as uploading:
                    self._uploading.add(uploading)
                    try:
                        control_url = await self._controls.url_of(job)
                    finally:
                        self._uploading.discard(uploading)
                if uploading.cancelled_caught:
                    claim.release()
                    return None
        except RejectedRequest as exc:
            await self._refuse(job, str(exc))
            return None
        except TransientApiError as exc:
            self._upload_failed(claim, exc)
            return None
        except SinkError as exc:
            claim.release()
            self._context.stop(ExitCode.ERROR, str(exc))
            return None
        ready_s = self._context.now_s()
        async with self._context.lanes.permit() as permit:
            self._context.events.measure(PermitMeasured(self._context.now_s() - ready_s))
            if permit is None or not await self._may_submit(permit.lane):
                claim.release()
                return None
            intent_at = self._context.runtime.clock.now()
            intent = await self._intend(job, permit, control_url, intent_at)
            if isinstance(intent, OverBudget):
                self._context.creates_left += 1
                self._over_budget(claim, intent)
                return None
            if isinstance(intent, LedgerLost):
                claim.release()
                self._context.stop(ExitCode.ERROR, LEDGER_GONE)
                return None
            if isinstance(intent, LaneLost | RunStopped | RunControls):
                self._context.creates_left += 1
                claim.release()
                self._forbidden(permit, intent)
                return None
            if not isinstance(intent, Intent):
                self._context.creates_left += 1
                return None  # the job needs no create any more
            with self._context.webhooks.expecting(intent.prediction_seq, intent_at):
                return await self._submit(claim, job, permit, intent, control_url, intent_at)

    def _upload_no_more(self) -> None:
        """Nothing more is bought, so nobody waits for an upload that may never come."""
        for scope in self._uploading:
            scope.cancel()

    async def _submit(
        self,
        claim: Claim,
        job: QueuedJob,
        permit: Permit,
        intent: Intent,
        control_url: str | None,
        intent_at: Timestamp,
    ) -> OutputsToFetch | None:
        """From the intent to the prediction's end, all of it within the slot."""
        context = self._context
        sent = sent_input(context, job, control_url)
        sending = Sending(permit.lane.account, job.model, intent_at)
        context.sending[intent.prediction_seq] = sending
        try:
            bought = await self._create(job, permit, intent, sent, sending)
        finally:
            del context.sending[intent.prediction_seq]
        moved, tracked = bought.moved, bought.tracked
        if moved.state is PredictionState.UNKNOWN and not bought.repeats_id:
            unanswered = UnknownCreate(
                intent.prediction_seq, job, sent, permit.lane.account, permit.key.fingerprint,
                permit.key.label, intent_at, bought.left, bought.given_up,
            )  # fmt: skip
            moved, tracked = await self._resolver.resolve(unanswered)
        delivery = None
        if tracked is not None:
            moved, delivery = await follow(context, tracked)
        if not moved.state.is_live:
            context.journals[permit.lane.account].note(partial(record_ended, intent.prediction_seq))
        if moved.state in {PredictionState.UNSENT, PredictionState.REFUSED}:
            context.creates_left += 1
        elif not moved.state.is_live:
            context.lanes.settled(permit.lane)
        if moved.job_state is JobState.PENDING:
            claim.retry_after(backoff_s(context, moved))
        return delivery

    async def _intend(
        self, job: QueuedJob, permit: Permit, control_url: str | None, at: Timestamp
    ) -> object:
        context = self._context
        key, journal = permit.key, context.journals[permit.lane.account]
        lease = context.leases.get(permit.lane.account)
        if context.is_shared and lease is None:
            return LaneLost()  # since the permit was given
        key_use = KeyUse(permit.lane.account, key.fingerprint, key.label, lease)

        def leaves_next(made: object) -> tuple[Beside, LaneChange] | None:
            if not isinstance(made, Intent):
                return None
            return journal, partial(record_left, made.prediction_seq, at)

        intent = await context.ledger.apply(
            Intend(
                at=at,
                run_seq=context.run.seq,
                run_id=context.run.run_id,
                job_seq=job.seq,
                key_use=key_use,
                price=context.card.price or context.reserve,
                reserve=context.reserve,
                caps=context.caps,
                admit=admit,
                send_within_s=SEND_WITHIN_S,
                budget_day=context.budget_day(),
                seed=sent_seed(context, job),
                control_url=control_url,
            ),
            leaves_next,
        )
        if isinstance(intent, Intent):
            context.events.emit(
                PredictionMoved(
                    job.job_id.hex(),
                    intent.attempt,
                    intent.prediction_seq,
                    None,
                    PredictionState.SUBMITTING,
                    JobState.ACTIVE,
                    permit.lane.label,
                    model=job.model,
                    seed=sent_seed(context, job),
                )
            )
        return intent

    async def _create(
        self, job: QueuedJob, permit: Permit, intent: Intent, sent: Input, sending: Sending
    ) -> _Submitted:
        """Send it, once, and make what the answer means durable."""
        context, lane, intent_at = self._context, permit.lane, sending.intended

        def leaves() -> None:
            if self._is_paused(lane):
                raise HeldBack("held back: paused by fluxbatch ctl")
            sending.left = context.runtime.clock.now()
            permit.leaves()

        guard = not_after(context.runtime.clock, later(intent_at, SEND_WITHIN_S), leaves)
        tracked: TrackedPrediction | None = None
        mailbox = context.webhooks.mailbox(intent.prediction_seq)
        hook = mailbox.address
        create = partial(
            context.clients[permit.key.fingerprint].create, job.model, sent, before_send=guard,
            webhook_url=hook.url if hook else None,
            webhook_secret=hook.secret if hook else None,
        )  # fmt: skip
        try:
            answer = await mailbox.unless_named(create)
        except ApiError as exc:
            event, evidence = refused(context, permit, exc)
        else:
            permit.accepted()
            context.reached()
            left = sending.left or intent_at
            name, event, evidence = accepted(context, lane.account, answer, left)
            tracked = _tracked(job, permit, intent, name, intent_at)
        answered = context.runtime.clock.now()
        given_up = event is PredictionEvent.NO_ANSWER
        evidence = replace(
            evidence,
            left=sending.left,
            answered=None if given_up else answered,
            given_up=answered if given_up else None,
        )
        note_outcome(context, lane, intent.prediction_seq, event, evidence, answered)
        moved = await context.move(
            intent.prediction_seq, event, evidence, job=job.job_id, lane=lane.label
        )
        is_running = moved.state is PredictionState.RUNNING
        repeats_id = event is PredictionEvent.ACCEPTED and moved.state is PredictionState.UNKNOWN
        if repeats_id:
            context.stop(ExitCode.ERROR, _SAME_ID)
        return _Submitted(
            moved, tracked if is_running else None, evidence.left, evidence.given_up, repeats_id
        )

    def _forbidden(self, permit: Permit, why: LaneLost | RunStopped | RunControls) -> None:
        """Another process has said so: what keeps in touch with them learns it within seconds."""
        if isinstance(why, RunStopped):
            self._context.stop(why.code, why.reason)
        elif isinstance(why, RunControls):
            obey(self._context, why)
        else:
            permit.lane.is_open = False
            self._context.in_doubt.add(permit.lane.account)

    def _is_paused(self, lane: Lane) -> bool:
        return self._context.lanes.suspended is not None or lane.is_off

    async def _may_submit(self, lane: Lane) -> bool:
        """Whether one more create is wanted; if so, it is taken off `--limit` already."""
        context = self._context
        if not await context.has_room():
            least = context.settings.sink.min_free
            context.stop(
                ExitCode.ERROR,
                f"less than {least:,} bytes are free on the disk (sink.min_free);"
                " free some and run again",
            )
        elif context.creates_left < 1:
            context.stop(ExitCode.STOPPED, "the limit of creates for this invocation is reached")
        if context.stop.code is not None or self._is_paused(lane):
            return False
        context.creates_left -= 1
        return True

    def _over_budget(self, claim: Claim, over: OverBudget) -> None:
        claim.release()
        line = over.balance
        cap = as_usd(line.cap) if line.cap is not None else "0"
        where = {"run": "per run", "day": f"for {line.key}", "dataset": "for the dataset"}
        self._context.queue.block(
            f"the budget of ${cap} {where[line.scope]} has no room for another"
            f" ${as_usd(self._context.reserve)}"
        )

    def _upload_failed(self, claim: Claim, exc: TransientApiError) -> None:
        claim.retry_after(self._context.jittered(2 * PAUSE_UNREACHABLE_S))
        if not isinstance(exc, KeyRefused):
            self._context.unreachable(f"a control image could not be uploaded: {exc}")

    async def _refuse(self, job: QueuedJob, reason: str) -> None:
        context = self._context
        await context.ledger.apply(RefuseJob(context.runtime.clock.now(), job.seq, reason))
        context.job_failed(job.job_id, FailureClass.INVALID_INPUT, reason)


def _tracked(
    job: QueuedJob, permit: Permit, intent: Intent, name: PredictionId, intent_at: Timestamp
) -> TrackedPrediction:
    return TrackedPrediction(
        intent.prediction_seq, name, job.job_id, permit.lane.account, permit.key.fingerprint,
        permit.key.label, intent_at.utc, kind=kind_of(job.input),
        outputs_wanted=job.outputs_wanted,
    )  # fmt: skip


async def follow(
    context: WorkerContext, tracked: TrackedPrediction
) -> tuple[TransitionResult, OutputsToFetch | None]:
    """From running to the end: what became of it, and what there is to fetch."""
    try:
        end = await until_ended(context, tracked)
    except NoKeyWorks:
        context.unreadable.add(tracked.prediction_seq)
        context.notice_once(
            f"no key may ask about predictions of key {tracked.key_label!r}; they stay running"
        )
        return TransitionResult(PredictionState.RUNNING, JobState.ACTIVE), None
    lane = context.lanes.lane(tracked.account)
    moved = await context.move(
        tracked.prediction_seq,
        end.event,
        end.evidence,
        job=tracked.job_id,
        lane=lane.label if lane else tracked.key_label,
    )
    if moved.wanted is None:
        return moved, None
    return moved, OutputsToFetch.of(tracked, moved.wanted, moved.attempt, end.urls)
