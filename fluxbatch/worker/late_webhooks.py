"""Late webhooks: those of predictions that no task waits for any more.

Owns what a late webhook still changes: a create that counted as absent and was made after all is
adopted, a success that was given up is fetched. Anything else changes nothing.
Source: docs/design/protocol.md 2.1.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.domain.job import PredictionState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.events import Noticed
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.recovery import LivePrediction, prediction_of
from fluxbatch.provider import Prediction, Status, WebhookAttempt
from fluxbatch.worker.context import OutputsToFetch, WorkerContext
from fluxbatch.worker.recover import Recovery, tracked_prediction
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

_P = PredictionState
_NOT_THERE = (_P.UNKNOWN, _P.ABSENT, _P.UNSENT, _P.REFUSED)
_MAY_SUCCEED = (_P.RUNNING, _P.ERRORED, _P.CANCELLED, _P.TIMED_OUT, _P.LOST)
"""Running ones are among them where no key may ask about them."""


class LateWebhooks:
    """Receives them as long as something may still be submitted."""

    def __init__(self, context: WorkerContext, recovery: Recovery) -> None:
        self._context = context
        self._recovery = recovery

    async def serve(self, work: TaskGroup, deliver: MemoryObjectSendStream[OutputsToFetch]) -> None:
        """Until the queue is closed; what is adopted goes on in *work*."""
        queue = self._context.queue
        with deliver:
            while not queue.is_closed:
                async with anyio.create_task_group() as waiting:

                    async def leave(scope: anyio.CancelScope = waiting.cancel_scope) -> None:
                        await queue.closed.wait()
                        scope.cancel()

                    waiting.start_soon(leave, name="no-more-late-words")
                    await self._context.webhooks.late_arrived()
                    waiting.cancel_scope.cancel()
                with queue.busy():
                    for attempt, said in self._context.webhooks.take_late():
                        await self._hear(attempt, said, work, deliver)

    async def _hear(
        self,
        attempt: WebhookAttempt,
        said: Prediction,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
    ) -> None:
        one = await self._context.read(partial(prediction_of, seq=attempt.prediction_seq))
        if one is None or WebhookAttempt.of(one.seq, one.intended) != attempt:
            return
        if self._context.webhooks.is_expected(attempt):  # it came before we had begun to listen
            self._context.webhooks.deliver(attempt, said)
        elif one.state in _NOT_THERE:
            found = await self._found(one, said)
            if found is not None:
                work.start_soon(self._recovery.adopt, found, deliver.clone(), name="late-create")
        elif one.state in _MAY_SUCCEED and said.prediction_id == one.provider_id:
            await self._succeeded(one, said, deliver)

    async def _found(self, one: LivePrediction, said: Prediction) -> LivePrediction | None:
        context = self._context
        evidence = Evidence(
            provider_id=said.prediction_id, adopted=BY_WEBHOOK, reason="its webhook came late"
        )
        moved = await context.move(
            one.seq, PredictionEvent.FOUND, evidence, job=one.job.job_id, lane=one.key_label
        )
        if moved.state is not _P.RUNNING or moved.passed:
            return None
        context.events.emit(
            Noticed(f"a create that counted as {one.state} was made after all, and is paid")
        )
        return replace(
            one, state=_P.RUNNING, provider_id=said.prediction_id, adopted=BY_WEBHOOK, at_risk=False
        )

    async def _succeeded(
        self, one: LivePrediction, said: Prediction, deliver: MemoryObjectSendStream[OutputsToFetch]
    ) -> None:
        if said.status is not Status.SUCCEEDED or not said.urls or said.prediction_id is None:
            return
        moved = await self._context.move(
            one.seq,
            PredictionEvent.SUCCEEDED,
            Evidence(urls=said.urls, cost=said.cost),
            job=one.job.job_id,
            lane=one.key_label,
        )
        if moved.wanted is not None:
            tracked = tracked_prediction(one, said.prediction_id)
            await deliver.send(OutputsToFetch.of(tracked, moved.wanted, moved.attempt, said.urls))
