"""Webhooks of predictions that nobody waits for any more.

Owns what a late word still changes: a create that counted as absent and was made after all is
taken up, a success that was given up is fetched. All else is no news. Source: protocol.md 2.
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
from fluxbatch.ledger.operations.transitions import Facts
from fluxbatch.ledger.queries.recovery import LivePrediction, prediction_of
from fluxbatch.provider import Attempt, Prediction, Status
from fluxbatch.worker.context import Delivery, Desk
from fluxbatch.worker.recover import Recovery, watched_of
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

P = PredictionState
_NOT_THERE = (P.UNKNOWN, P.ABSENT, P.UNSENT, P.REFUSED)
_MAY_SUCCEED = (P.RUNNING, P.ERRORED, P.CANCELLED, P.TIMED_OUT, P.LOST)
"""Running ones are among them where no key may ask about them."""


class LateWords:
    """Hears them as long as something may still be bought."""

    def __init__(self, desk: Desk, recovery: Recovery) -> None:
        self._desk = desk
        self._recovery = recovery

    async def serve(self, work: TaskGroup, deliver: MemoryObjectSendStream[Delivery]) -> None:
        """Until the queue is closed; what is taken up goes on in *work*."""
        queue = self._desk.queue
        with deliver:
            while not queue.is_closed:
                async with anyio.create_task_group() as waiting:

                    async def leave(scope: anyio.CancelScope = waiting.cancel_scope) -> None:
                        await queue.closed.wait()
                        scope.cancel()

                    waiting.start_soon(leave, name="no-more-late-words")
                    await self._desk.hooks.late_words()
                    waiting.cancel_scope.cancel()
                with queue.busy():
                    for attempt, said in self._desk.hooks.take_late():
                        await self._hear(attempt, said, work, deliver)

    async def _hear(
        self,
        attempt: Attempt,
        said: Prediction,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[Delivery],
    ) -> None:
        one = await self._desk.read(partial(prediction_of, seq=attempt.prediction_seq))
        if one is None or Attempt.of(one.seq, one.intended) != attempt:
            return
        if self._desk.hooks.is_expected(attempt):  # it was told before we had begun to listen
            self._desk.hooks.told(attempt, said)
        elif one.state in _NOT_THERE:
            found = await self._found(one, said)
            if found is not None:
                work.start_soon(self._recovery.adopt, found, deliver.clone(), name="late-create")
        elif one.state in _MAY_SUCCEED and said.prediction_id == one.provider_id:
            await self._succeeded(one, said, deliver)

    async def _found(self, one: LivePrediction, said: Prediction) -> LivePrediction | None:
        desk = self._desk
        facts = Facts(
            provider_id=said.prediction_id, adopted=BY_WEBHOOK, reason="its webhook came late"
        )
        moved = await desk.move(
            one.seq, PredictionEvent.FOUND, facts, job=one.job.job_id, lane=one.key_label
        )
        if moved.state is not P.RUNNING or moved.passed:
            return None
        desk.events.emit(
            Noticed(f"a create that counted as {one.state} was made after all, and is paid")
        )
        return replace(
            one, state=P.RUNNING, provider_id=said.prediction_id, adopted=BY_WEBHOOK, at_risk=False
        )

    async def _succeeded(
        self, one: LivePrediction, said: Prediction, deliver: MemoryObjectSendStream[Delivery]
    ) -> None:
        if said.status is not Status.SUCCEEDED or not said.urls or said.prediction_id is None:
            return
        moved = await self._desk.move(
            one.seq,
            PredictionEvent.SUCCEEDED,
            Facts(urls=said.urls, cost=said.cost),
            job=one.job.job_id,
            lane=one.key_label,
        )
        if moved.wanted is not None:
            watched = watched_of(one, said.prediction_id)
            await deliver.send(Delivery.of(watched, moved.wanted, moved.attempt, said.urls))
