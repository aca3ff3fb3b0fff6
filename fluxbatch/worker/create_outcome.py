"""The outcome of a create: what each answer means for the lane, the ledger and the run.

Owns the way from an answer, or the lack of one, to a prediction's event. Which status code is
which error is `provider.status_errors`'s to say. Source: docs/design/provider-api.md "Errors".
"""

from __future__ import annotations

from functools import partial

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import (
    AmbiguousCreate,
    ApiError,
    BalanceTooLow,
    EndpointWrong,
    ExitCode,
    HeldBack,
    KeyRefused,
    NotSent,
    QuotaExceeded,
)
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.provider import Created
from fluxbatch.scheduler.lane import Lane, Permit
from fluxbatch.scheduler.lane_state_file import record_refused, record_running, record_uncounted
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

PAUSE_UNREACHABLE_S = 2.0


def accepted(
    context: WorkerContext, account: str, answer: Created | PredictionId, left: Timestamp
) -> tuple[PredictionId, PredictionEvent, Evidence]:
    """By the create's own answer, or by a webhook that came before it."""
    if isinstance(answer, Created):
        context.saw_date(account, answer.date, left)
        evidence = Evidence(provider_id=answer.prediction_id, request_id=answer.request_id)
        return answer.prediction_id, PredictionEvent.ACCEPTED, evidence
    reason = "its webhook came before the create's answer"
    evidence = Evidence(provider_id=answer, adopted=BY_WEBHOOK, reason=reason)
    return answer, PredictionEvent.FOUND, evidence


def refused(
    context: WorkerContext, permit: Permit, exc: ApiError
) -> tuple[PredictionEvent, Evidence]:
    """What an unsuccessful create means for the lane, and the event it is.

    Source: docs/design/provider-api.md "Errors".
    """
    lane = permit.lane
    reason = str(exc)
    if exc.status is not None and exc.status < 500:
        context.reached()
    if isinstance(exc, AmbiguousCreate):
        permit.given_up()
        event = PredictionEvent.NO_ANSWER
    elif isinstance(exc, NotSent):
        permit.withdraw()
        if not isinstance(exc, HeldBack):
            context.unreachable(reason)
            context.lanes.pause(lane, context.jittered(PAUSE_UNREACHABLE_S), reason)
        event = PredictionEvent.NOT_SENT
    elif isinstance(exc, QuotaExceeded):
        permit.refused(exc.retry_after_s)
        context.lanes.refused(lane, exc.retry_after_s, reason, by_concurrency=exc.by_concurrency)
        event = PredictionEvent.OVER_LIMIT
    elif isinstance(exc, BalanceTooLow):
        permit.withdraw()
        context.lanes.await_balance(lane, permit.key, reason)
        event = PredictionEvent.UNPAID
    elif isinstance(exc, KeyRefused):
        permit.answered()
        context.lanes.key_out(lane, permit.key, reason)
        event = PredictionEvent.KEY_REFUSED
    elif isinstance(exc, EndpointWrong):
        permit.answered()
        context.stop(ExitCode.ERROR, reason)
        event = PredictionEvent.ENDPOINT_WRONG
    else:
        permit.answered()
        event = PredictionEvent.REJECTED
    return event, Evidence(reason=reason, request_id=exc.request_id)


def note_outcome(
    context: WorkerContext,
    lane: Lane,
    prediction: int,
    event: PredictionEvent,
    evidence: Evidence,
    at: Timestamp,
) -> None:
    """Write to the lane's file what the next process must know."""
    journal = context.journals[lane.account]
    if event in {PredictionEvent.ACCEPTED, PredictionEvent.FOUND}:
        journal.note(partial(record_running, prediction, at, evidence.provider_id))
    elif event is PredictionEvent.OVER_LIMIT and lane.window.counts_refused:
        journal.note(partial(record_refused, prediction, at))
    elif event in {
        PredictionEvent.OVER_LIMIT,
        PredictionEvent.UNPAID,
        PredictionEvent.NOT_SENT,
    }:
        journal.note(partial(record_uncounted, prediction, at))
