"""The wait for a prediction's end, by polls and by webhooks.

Owns what each answer to a poll and each webhook means and how long to go on asking. Reads
only: nothing here spends, and the one thing it ever asks for is a stop, once, of what
outlived `provider.deadline`. A webhook is the answer only where asking could add nothing;
any other is a hint to ask now. Source: docs/design/protocol.md 2, 4 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ApiError, KeyRefused, NotFound, RejectedRequest, TransientApiError
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.provider import Prediction, ProviderClient, Status
from fluxbatch.worker.context import TrackedPrediction, WorkerContext

_LATE_POLL_S = 60.0
_MARGIN = timedelta(days=1)  # for clocks that differ, or jump
_PATIENT_S = 2.0
_FRESH_S = 5.0
_ADOPTED_S = 0.5
_CLOSE = 0.7
_HINTS = 6
"""Polls of one prediction that webhooks may cause, whatever is sent."""
_HINT_S = 0.5
"""Least time between the first two of them; every further one waits twice as long."""


@dataclass(frozen=True, slots=True)
class PredictionEnd:
    """How a prediction ended."""

    event: PredictionEvent
    evidence: Evidence
    urls: tuple[str, ...] = ()


class NoKeyWorks(Exception):
    """No key of this invocation may ask about the prediction; it stays as it is."""


async def until_ended(context: WorkerContext, tracked: TrackedPrediction) -> PredictionEnd:
    """Poll, or wait for its webhook, until the prediction has ended.

    Raises `NoKeyWorks`. Cancellation leaves it running; the next start adopts it.
    """
    mailbox = context.webhooks.mailbox(tracked.prediction_seq)
    watch = _Watch(context, tracked, has_webhook=mailbox.address is not None)
    while True:
        for said in mailbox.take():
            ended = watch.hear(said)
            if ended is not None:
                return ended
        wait_s = watch.due_in_s()
        if wait_s > 0 and await mailbox.filled(wait_s):
            continue
        ended = await watch.ask()
        if ended is not None:
            return ended


async def read_prediction(context: WorkerContext, tracked: TrackedPrediction) -> Prediction:
    """One look at a prediction, by the key that made it, else any other that may.

    Raises `NotFound` on the answer of its own key alone, `NoKeyWorks`, or `TransientApiError`.
    """
    for client, is_own in _clients(context, tracked):
        try:
            prediction = await client.get(tracked.provider_id)
        except KeyRefused:
            continue
        except NotFound:
            if is_own:
                raise
        else:
            context.reached()
            context.saw_poll(prediction)
            return prediction
    raise NoKeyWorks(tracked.key_label)


def _clients(
    context: WorkerContext, tracked: TrackedPrediction
) -> Iterator[tuple[ProviderClient, bool]]:
    """The key that made it, the others of its account, then each in turn."""
    own = context.clients.get(tracked.key_fingerprint)
    if own is not None:
        yield own, True
    others = sorted(
        (name for name in context.clients if name != tracked.key_fingerprint),
        key=lambda name: context.accounts[name] != tracked.account,
    )
    for name in others:
        yield context.clients[name], False


class _Watch:
    """One prediction under watch."""

    def __init__(
        self, context: WorkerContext, tracked: TrackedPrediction, *, has_webhook: bool
    ) -> None:
        self._context = context
        self._watched = tracked
        self._has_webhook = has_webhook
        self._began = context.now_s()
        age_s = (context.runtime.clock.now().utc - tracked.intended).total_seconds()
        self._is_adopted = age_s > _FRESH_S
        self._age_s = age_s if self._is_adopted else 0.0
        """How old it was already; the deadline counts from now, so that it gets its chance."""
        self._asked_s = 0.0
        self._polls = 0
        self._cancel_asked = False
        self._missing_since: float | None = None
        self._due: float | None = None
        """Of the next poll, monotonic; webhooks bring it nearer and never push it away."""
        self._asks_rarely = False
        self._was_notified = False
        self._success: Prediction | None = None
        """A webhook reported it in whole; only its cost is still to be read."""
        self._hints = 0
        self._hinted_at = -math.inf

    @property
    def _waits_for_webhook(self) -> bool:
        """Not once they get lost; nor for an adopted one, whose webhook may have come already."""
        return self._has_webhook and not self._is_adopted and not self._context.webhooks.are_silent

    @property
    def _elapsed_s(self) -> float:
        return self._context.now_s() - self._began

    @property
    def _deadline_s(self) -> float:
        return self._context.settings.provider.deadline

    def due_in_s(self) -> float:
        """Seconds until the next poll."""
        now = self._context.now_s()
        if self._due is None:
            self._due = now + self._wait_s()
        return self._due - now

    def _wait_s(self) -> float:
        if self._elapsed_s > self._deadline_s:
            # Every minute, scaled with the deadline where tests shorten it.
            return min(_LATE_POLL_S, self._deadline_s / 15)
        if self._missing_since is not None:
            return self._context.jittered(min(_PATIENT_S, self._deadline_s / 15))
        if self._is_adopted and self._polls == 0:
            return self._context.jittered(_ADOPTED_S)
        timing, kind, random = (
            self._context.timing,
            self._watched.kind,
            self._context.runtime.random,
        )
        age_s = self._age_s + self._elapsed_s
        self._asks_rarely = self._waits_for_webhook
        if self._asks_rarely:
            wait_s = timing.safety_s(kind, age_s, random)
        else:
            eager = self._context.slot_is_wanted(self._watched.account)
            wait_s = timing.wait_s(kind, age_s, random, eager=eager)
        return min(wait_s, max(self._deadline_s - self._elapsed_s, 0.0) + 0.001)

    def hear(self, said: Prediction | None) -> PredictionEnd | None:
        """What a webhook means: the end, or a hint to ask now."""
        if said is None or said.prediction_id != self._watched.provider_id:
            self._hinted()
            return None
        if said.status is not Status.NOT_FINISHED:
            self._was_notified = True
        if not self._is_whole(said):
            self._hinted()
            return None
        if said.cost is None and self._context.webhooks.wants_cost(self._watched.kind):
            self._success = said
            self._hinted()
            return None
        return self._take(said)

    def _take(self, said: Prediction) -> PredictionEnd:
        """The end, as a webhook reported it."""
        if self._elapsed_s > 0 and not self._is_adopted:  # else it came before we began to wait
            self._context.timing.saw(self._watched.kind, self._elapsed_s, self._elapsed_s)
        self._tell_of_end()
        return _ended(said, self._polls)

    def _is_whole(self, said: Prediction) -> bool:
        """Whether asking could add nothing: a success with all its outputs.

        A failure's class decides whether more is submitted and its cost what the caps have room
        for; a webhook has neither the code nor the cost.
        """
        wanted = self._watched.outputs_wanted
        return said.status is Status.SUCCEEDED and len(said.urls) >= max(wanted, 1)

    def _hinted(self) -> None:
        """Poll soon, but bounded, so that a sender who knew the address could do no harm."""
        if self._hints >= _HINTS:
            return
        now = self._context.now_s()
        apart_s = _HINT_S * 2.0 ** (self._hints - 1) if self._hints else 0.0
        due = max(now, self._hinted_at + apart_s)
        if self._due is None or due < self._due:
            self._due, self._hinted_at = due, due
            self._hints += 1

    def _tell_of_end(self) -> None:
        """Count whether a webhook reported it, or a poll found it."""
        webhooks = self._context.webhooks
        if (
            self._has_webhook
            and not self._is_adopted
            and webhooks.ended(was_notified=self._was_notified)
        ):
            self._context.notice_once("webhooks do not come; ends are found by asking for them")

    async def ask(self) -> PredictionEnd | None:
        """One poll; None while it goes on."""
        self._polls += 1
        self._due = None
        try:
            prediction = await read_prediction(self._context, self._watched)
        except NotFound as exc:
            return self._told_before() or await self._missing(exc)
        except (TransientApiError, RejectedRequest) as exc:
            self._context.unreachable(str(exc))
            return self._told_before() or (
                None if self._elapsed_s < 2 * self._deadline_s else self._overdue()
            )
        except NoKeyWorks:
            if (ended := self._told_before()) is None:
                raise
            return ended
        self._missing_since = None
        if prediction.status is Status.NOT_FINISHED and self._success is not None:
            return self._told_before()
        return await self._told(prediction)

    def _told_before(self) -> PredictionEnd | None:
        """A success that a webhook reported stands, though its cost cannot be read."""
        return None if self._success is None else self._take(self._success)

    async def _told(self, prediction: Prediction) -> PredictionEnd | None:
        if not prediction.has_known_word:
            self._context.notice_once(
                f"the provider says {prediction.word!r} of a prediction; taken as not finished"
            )
        if prediction.status is not Status.NOT_FINISHED:
            self._learn()
            if prediction.status is not Status.CANCELLED:  # no webhook reports those
                self._tell_of_end()
            return _ended(prediction, self._polls)
        self._asked_s = self._elapsed_s
        if self._was_notified:
            self._hinted()  # it has ended, and where this was read that is not known yet
        if self._elapsed_s >= 2 * self._deadline_s:
            return self._overdue()
        if self._elapsed_s >= self._deadline_s and not self._cancel_asked:
            self._cancel_asked = True
            if not self._watched.is_presumed:
                await self._ask_to_stop()
        return None

    def _learn(self) -> None:
        """A duration, unless polls were so rare that it is anybody's guess."""
        rare = self._asks_rarely and self._asked_s < _CLOSE * self._elapsed_s
        if not self._is_adopted and (self._was_notified or not rare):
            since_s = self._elapsed_s if self._was_notified else self._asked_s
            self._context.timing.saw(self._watched.kind, since_s, self._elapsed_s)

    async def _ask_to_stop(self) -> None:
        client = self._context.clients.get(self._watched.key_fingerprint)
        if client is None:
            return
        try:
            await client.cancel(self._watched.provider_id)
        except ApiError as exc:
            self._context.notice_once(f"a late prediction could not be cancelled: {exc}")

    async def _missing(self, exc: NotFound) -> PredictionEnd | None:
        """404: a moment's delay right after the create, or gone for good.

        Source: docs/design/protocol.md 2.1.
        """
        now = self._context.now_s()
        self._missing_since = now if self._missing_since is None else self._missing_since
        if now - self._missing_since < 2 * self._context.settings.reconcile.lag:
            return None
        if await self._is_listed():
            self._missing_since = now
            return None if self._elapsed_s < 2 * self._deadline_s else self._overdue()
        reason = "the provider does not know it any more, nor does its listing"
        evidence = Evidence(reason=reason, request_id=exc.request_id, polls=self._polls)
        return PredictionEnd(PredictionEvent.GONE, evidence)

    async def _is_listed(self) -> bool:
        """Whether the listing has it; what cannot be read proves no absence."""
        client = self._context.clients.get(self._watched.key_fingerprint)
        if client is None:
            return True
        since, until = (
            self._watched.intended - _MARGIN,
            self._context.runtime.clock.now().utc + _MARGIN,
        )
        try:
            listing = await client.listing(since=since, until=until)
        except ApiError:
            return True
        ids = {row.prediction_id for row in listing.rows}
        return self._watched.provider_id in ids or not listing.is_complete

    def _overdue(self) -> PredictionEnd:
        reason = f"not finished after {2 * self._deadline_s:g} s"
        return PredictionEnd(PredictionEvent.OVERDUE, Evidence(reason=reason, polls=self._polls))


def _ended(prediction: Prediction, polls: int) -> PredictionEnd:
    reason = prediction.reason
    if prediction.status is Status.SUCCEEDED:
        event = PredictionEvent.SUCCEEDED if prediction.urls else PredictionEvent.SUCCEEDED_EMPTY
        reason = None if prediction.urls else "the provider said success and gave no output"
    elif prediction.status is Status.CANCELLED:
        event = PredictionEvent.CANCELLED
    else:
        event = PredictionEvent.FAILED
    failed = event is PredictionEvent.FAILED
    evidence = Evidence(
        urls=prediction.urls if event is PredictionEvent.SUCCEEDED else (),
        cost=prediction.cost,
        failure=(prediction.failure or FailureClass.PROVIDER_ERROR) if failed else None,
        reason=reason,
        run_time_s=prediction.run_time_s,
        polls=polls,
    )
    return PredictionEnd(event, evidence, evidence.urls)
