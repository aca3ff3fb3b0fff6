"""One job from the queue to its end at the provider.

Owns the order that keeps money safe: control image, slot and window, intent, create,
wait. Cancellation may strike at any await: the ledger already says what was about to
happen, so nothing is undone here and nothing is cancelled remotely.
Source: protocol.md 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.domain.job import (
    FailureClass,
    Input,
    JobState,
    PredictionId,
    PredictionState,
    as_sent,
    derived_seed,
    given_seed,
)
from fluxbatch.domain.money import as_usd
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import (
    AmbiguousCreate,
    ApiError,
    BalanceTooLow,
    EndpointWrong,
    ExitCode,
    KeyRefused,
    NotSent,
    QuotaExceeded,
    RejectedRequest,
    TransientApiError,
)
from fluxbatch.events import PredictionMoved
from fluxbatch.infra.runtime import Moment
from fluxbatch.ledger.operations.intents import Buyer, Intend, Intent, OverBudget
from fluxbatch.ledger.operations.retry import RefuseJob
from fluxbatch.ledger.operations.transitions import Facts, Moved
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.provider import Created, unless_late
from fluxbatch.queue import Taken
from fluxbatch.scheduler.budget import admit
from fluxbatch.scheduler.lane import Turn
from fluxbatch.scheduler.lane_state_file import ended, left_now, runs, uncounted
from fluxbatch.worker.await_result import NoKeyWorks, until_ended
from fluxbatch.worker.context import SEND_WITHIN_S, Delivery, Desk, Watched
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.resolve_unknown import Reconciler, Unanswered
from fluxbatch.worker.upload_cache import ControlUrls
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 60.0
_PAUSE_429_S = 2.0
_PAUSE_UNREACHABLE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Bought:
    """A create that was answered, one way or another."""

    moved: Moved
    watched: Watched | None = None
    """Set while it runs."""


class Buyers:
    """The workers of one run; each serves one job at a time."""

    def __init__(self, desk: Desk, reconciler: Reconciler) -> None:
        self._desk = desk
        self._reconciler = reconciler
        self._controls = ControlUrls(desk)
        self._uploading: set[anyio.CancelScope] = set()
        desk.stop.on_stop(self._upload_no_more)

    async def serve(self, deliver: MemoryObjectSendStream[Delivery]) -> None:
        """Work until the queue hands out nothing more."""
        with deliver:
            while True:
                async with self._desk.queue.take() as taken:
                    if taken.job is None:
                        return
                    delivery = await self._serve_one(taken, taken.job)
                    if delivery is not None:
                        # The slot is free by now: a slow disk holds this worker alone.
                        await deliver.send(delivery)

    async def _serve_one(self, taken: Taken, job: QueuedJob) -> Delivery | None:
        control_url: str | None = None
        try:
            with anyio.CancelScope() as uploading:
                self._uploading.add(uploading)
                try:
                    control_url = await self._controls.url_of(job)
                finally:
                    self._uploading.discard(uploading)
            if uploading.cancelled_caught:
                taken.back()
                return None
        except RejectedRequest as exc:
            await self._refuse(job, str(exc))
            return None
        except TransientApiError as exc:
            self._upload_failed(taken, exc)
            return None
        async with self._desk.lanes.turn() as turn:
            if turn is None or not await self._may_buy():
                taken.back()
                return None
            intent_at = self._desk.seams.clock.now()
            intent = await self._intend(job, turn, control_url, intent_at)
            if isinstance(intent, OverBudget):
                self._desk.creates_left += 1
                self._over_budget(taken, intent)
                return None
            if not isinstance(intent, Intent):
                self._desk.creates_left += 1
                return None  # the job needs no create any more
            with self._desk.hooks.expecting(intent.prediction_seq, intent_at):
                return await self._buy(taken, job, turn, intent, control_url, intent_at)

    def _upload_no_more(self) -> None:
        """Nothing more is bought, so nobody waits for an upload that may never come."""
        for scope in self._uploading:
            scope.cancel()

    async def _buy(
        self,
        taken: Taken,
        job: QueuedJob,
        turn: Turn,
        intent: Intent,
        control_url: str | None,
        intent_at: Moment,
    ) -> Delivery | None:
        """From the intent to the prediction's end, all of it within the slot."""
        desk = self._desk
        sent = sent_input(desk, job, control_url)
        bought = await self._create(job, turn, intent, sent, intent_at)
        moved, watched = bought.moved, bought.watched
        if moved.state is PredictionState.UNKNOWN:
            unanswered = Unanswered(
                intent.prediction_seq, job, sent, turn.lane.account, turn.key.fingerprint,
                turn.key.label, intent_at,
            )  # fmt: skip
            moved, watched = await self._reconciler.settled(unanswered)
        delivery = None
        if watched is not None:
            moved, delivery = await follow(desk, watched)
        if not moved.state.is_live:
            desk.journals[turn.lane.account].note(partial(ended, intent.prediction_seq))
        if moved.state in {PredictionState.UNSENT, PredictionState.REFUSED}:
            desk.creates_left += 1
        elif not moved.state.is_live:
            desk.lanes.settled(turn.lane)
        if moved.job_state is JobState.PENDING:
            taken.again(backoff_s(desk, moved))
        return delivery

    async def _intend(
        self, job: QueuedJob, turn: Turn, control_url: str | None, at: Moment
    ) -> object:
        desk = self._desk
        key = turn.key
        intent = await desk.ledger.apply(
            Intend(
                at=at,
                run_seq=desk.run.seq,
                run_id=desk.run.run_id,
                job_seq=job.seq,
                buyer=Buyer(turn.lane.account, key.fingerprint, key.label),
                price=desk.card.price or desk.reserve,
                reserve=desk.reserve,
                caps=desk.caps,
                admit=admit,
                send_within_s=SEND_WITHIN_S,
                budget_day=desk.budget_day(),
                seed=sent_seed(desk, job),
                control_url=control_url,
            )
        )
        if isinstance(intent, Intent):
            journal = desk.journals[turn.lane.account]
            await journal.keep(partial(left_now, intent.prediction_seq, at))
            desk.events.emit(
                PredictionMoved(
                    job.job_id.hex(),
                    intent.attempt,
                    intent.prediction_seq,
                    None,
                    PredictionState.SUBMITTING,
                    JobState.ACTIVE,
                    turn.lane.label,
                )
            )
        return intent

    async def _create(
        self, job: QueuedJob, turn: Turn, intent: Intent, sent: Input, intent_at: Moment
    ) -> _Bought:
        """Send it, once, and make what the answer means durable."""
        desk, lane = self._desk, turn.lane
        left: list[Moment] = []

        def leaves() -> None:
            left.append(desk.seams.clock.now())
            turn.leaves()

        guard = unless_late(desk.seams.clock, intent_at.boot_s + SEND_WITHIN_S, leaves)
        watched: Watched | None = None
        box = desk.hooks.box(intent.prediction_seq)
        hook = box.address
        create = partial(
            desk.clients[turn.key.fingerprint].create, job.model, sent, leaves=guard,
            webhook_url=hook.url if hook else None,
            webhook_secret=hook.secret if hook else None,
        )  # fmt: skip
        try:
            answer = await box.unless_named(create)
        except ApiError as exc:
            event, facts = self._refused(turn, exc)
        else:
            turn.answered()
            desk.reached()
            name, event, facts = self._accepted(lane.account, answer)
            watched = Watched(
                intent.prediction_seq, name, job.job_id, lane.account, turn.key.fingerprint,
                turn.key.label, intent_at.utc, kind=kind_of(job.input),
                outputs_wanted=job.outputs_wanted,
            )  # fmt: skip
        answered = desk.seams.clock.now()
        given_up = event is PredictionEvent.NO_ANSWER
        facts = replace(
            facts,
            left=left[0] if left else None,
            answered=None if given_up else answered,
            given_up=answered if given_up else None,
        )
        self._note(lane.account, intent.prediction_seq, event, facts, answered)
        moved = await desk.move(
            intent.prediction_seq, event, facts, job=job.job_id, lane=lane.label
        )
        return _Bought(moved, watched if moved.state is PredictionState.RUNNING else None)

    def _note(
        self, account: str, prediction: int, event: PredictionEvent, facts: Facts, at: Moment
    ) -> None:
        """Tell the lane's file what it has to know for the next process."""
        journal = self._desk.journals[account]
        if event in {PredictionEvent.ACCEPTED, PredictionEvent.FOUND}:
            journal.note(partial(runs, prediction, at, facts.provider_id))
        elif event in {
            PredictionEvent.OVER_LIMIT,
            PredictionEvent.UNPAID,
            PredictionEvent.NOT_SENT,
        }:
            journal.note(partial(uncounted, prediction, at))

    def _accepted(
        self, account: str, answer: Created | PredictionId
    ) -> tuple[PredictionId, PredictionEvent, Facts]:
        """By the create's own answer, or by a webhook that came before it."""
        if isinstance(answer, Created):
            self._desk.saw_date(account, answer.date)
            facts = Facts(provider_id=answer.prediction_id, request_id=answer.request_id)
            return answer.prediction_id, PredictionEvent.ACCEPTED, facts
        reason = "its webhook came before the create's answer"
        facts = Facts(provider_id=answer, adopted=BY_WEBHOOK, reason=reason)
        return answer, PredictionEvent.FOUND, facts

    def _refused(self, turn: Turn, exc: ApiError) -> tuple[PredictionEvent, Facts]:
        """What an unsuccessful create means for the lane, and the event it is. Source: the
        contract's error table."""
        desk, lane = self._desk, turn.lane
        reason = str(exc)
        if exc.status is not None and exc.status < 500:
            desk.reached()
        if isinstance(exc, AmbiguousCreate):
            turn.given_up()
            event = PredictionEvent.NO_ANSWER
        elif isinstance(exc, NotSent):
            turn.withdraw()
            desk.unreachable(reason)
            desk.lanes.pause(lane, desk.jittered(_PAUSE_UNREACHABLE_S), reason)
            event = PredictionEvent.NOT_SENT
        elif isinstance(exc, QuotaExceeded):
            turn.withdraw()
            pause_s = exc.retry_after_s if exc.retry_after_s is not None else _PAUSE_429_S
            desk.lanes.refused(lane, pause_s, reason, by_concurrency=exc.by_concurrency)
            event = PredictionEvent.OVER_LIMIT
        elif isinstance(exc, BalanceTooLow):
            turn.withdraw()
            desk.lanes.await_balance(lane, turn.key, reason)
            event = PredictionEvent.UNPAID
        elif isinstance(exc, KeyRefused):
            turn.answered()
            desk.lanes.key_out(lane, turn.key, reason)
            event = PredictionEvent.KEY_REFUSED
        elif isinstance(exc, EndpointWrong):
            turn.answered()
            desk.stop(ExitCode.ERROR, reason)
            event = PredictionEvent.ENDPOINT_WRONG
        else:
            turn.answered()
            event = PredictionEvent.REJECTED
        return event, Facts(reason=reason, request_id=exc.request_id)

    async def _may_buy(self) -> bool:
        """Whether one more create is wanted; if so, it is taken off `--limit` already."""
        desk = self._desk
        if not await desk.has_room():
            least = desk.settings.sink.min_free
            desk.stop(
                ExitCode.ERROR,
                f"less than {least:,} bytes are free on the disk (sink.min_free);"
                " free some and run again",
            )
        elif desk.creates_left < 1:
            desk.stop(ExitCode.STOPPED, "the limit of creates for this invocation is reached")
        if desk.stop.code is not None:
            return False
        desk.creates_left -= 1
        return True

    def _over_budget(self, taken: Taken, over: OverBudget) -> None:
        taken.back()
        line = over.balance
        cap = as_usd(line.cap) if line.cap is not None else "0"
        where = {"run": "per run", "day": f"for {line.key}", "dataset": "for the dataset"}
        self._desk.queue.block(
            f"the budget of ${cap} {where[line.scope]} has no room for another"
            f" ${as_usd(self._desk.reserve)}"
        )

    def _upload_failed(self, taken: Taken, exc: TransientApiError) -> None:
        taken.again(self._desk.jittered(2 * _PAUSE_UNREACHABLE_S))
        if isinstance(exc, KeyRefused):
            self._controls.refused(exc)
        else:
            self._desk.unreachable(f"a control image could not be uploaded: {exc}")

    async def _refuse(self, job: QueuedJob, reason: str) -> None:
        desk = self._desk
        await desk.ledger.apply(RefuseJob(desk.seams.clock.now(), job.seq, reason))
        desk.job_failed(job.job_id, FailureClass.INVALID_INPUT, reason)


async def follow(desk: Desk, watched: Watched) -> tuple[Moved, Delivery | None]:
    """From running to the end: what became of it, and what there is to fetch."""
    try:
        ended = await until_ended(desk, watched)
    except NoKeyWorks:
        desk.notice_once(
            f"no key may ask about predictions of key {watched.key_label!r}; they stay running"
        )
        return Moved(PredictionState.RUNNING, JobState.ACTIVE), None
    lane = desk.lanes.lane(watched.account)
    moved = await desk.move(
        watched.prediction_seq,
        ended.event,
        ended.facts,
        job=watched.job_id,
        lane=lane.label if lane else watched.key_label,
    )
    if moved.wanted is None:
        return moved, None
    return moved, Delivery.of(watched, moved.wanted, moved.attempt, ended.urls)


def sent_input(desk: Desk, job: QueuedJob, control_url: str | None) -> Input:
    """The input as it leaves: the control image's URL and the seed filled in, nothing else."""
    seed = sent_seed(desk, job)
    return as_sent(job.input, desk.card_of(job.model).file_inputs, control_url, seed)


def sent_seed(desk: Desk, job: QueuedJob) -> int | None:
    """The seed as it leaves; None where the provider is to choose."""
    if "seed" in job.input:
        return given_seed(job.input)
    card = desk.card_of(job.model)
    derives = desk.settings.inputs.seed == "derived" and card.takes_derived_seed
    return derived_seed(job.job_id, job.reseed) if derives else None


def backoff_s(desk: Desk, moved: Moved) -> float:
    """How long a job waits for its next try; one that lost no attempt waits for its lane alone."""
    if moved.failure is None:
        return 0.0
    longest = min(_BACKOFF_S * 2 ** (moved.attempts - 1), _LONGEST_BACKOFF_S)
    return desk.jittered(longest)
