"""The provider: every endpoint of the contract as a pure function of calls and time.

No tasks, no sockets, no wall clock, no global randomness: the clock and the dice are
passed in, so a simulation under virtual time and the HTTP server run the same code. What
is to happen on the wire is said in the reply's `fate`; webhooks due are handed out by
`deliveries`. `router.handle` maps HTTP calls onto these methods.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from fluxbatch.emulator import listing
from fluxbatch.emulator.auth import Authenticator
from fluxbatch.emulator.clock import ProviderClock
from fluxbatch.emulator.create import CreateHandler
from fluxbatch.emulator.dialect import DIALECTS
from fluxbatch.emulator.executor import Executor
from fluxbatch.emulator.fault_replies import FaultReplies
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.messages import JsonValue, Reply, WebhookPost, WireFault
from fluxbatch.emulator.models import MODELS
from fluxbatch.emulator.prediction import EmulatedPrediction
from fluxbatch.emulator.responses import ResponseBuilder
from fluxbatch.emulator.settings import EmulatorSettings
from fluxbatch.emulator.storage import Storage
from fluxbatch.emulator.webhooks import WebhookDeliveries, WebhookScheduler

_COUNTED = (
    "calls",
    "create_calls",
    "refused_rate",
    "refused_concurrent",
    "refused_balance",
    "refused_invalid",
    "gets",
    "lists",
    "cancels",
)


class ProviderCore:
    """Call `begin_anew` to forget everything but the settings and the dice's seed."""

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        monotonic: Callable[[], float],
        began: datetime,
        rng: random.Random,
    ) -> None:
        self.settings = settings or EmulatorSettings()
        self.clock = ProviderClock(monotonic, began)
        self.dialect = DIALECTS[self.settings.dialect]
        self.origin = ""
        self._began = began
        self._generation = 0
        self._dice = rng.getstate()
        self.begin_anew()

    def listen_at(self, origin: str) -> None:
        """Scheme, host and port that every URL given out from now on begins with."""
        self.origin = self.storage.origin = origin

    def begin_anew(self) -> None:
        """The state of a provider that has never been called; the origin is kept."""
        rng = random.Random()
        rng.setstate(self._dice)
        settings = self.settings
        knobs = {
            "duration": settings.duration_s,
            "sigma": settings.sigma,
            "latency": settings.latency_s,
            "jitter": settings.jitter_s,
        }
        self.faults = FaultBook(random.Random(rng.getrandbits(64)), knobs)
        # Durations repeat with the seed; ids never come twice, also not after a restart
        # or a reset: a client's ledger may still hold the old ones.
        self._generation += 1
        name = f"{rng.getrandbits(64)}/{self._began.isoformat()}/{self._generation}"
        self._ids = random.Random(name)
        self.executor = Executor(
            settings.limits,
            settings.speed,
            self.faults,
            random.Random(rng.getrandbits(64)),
            random.Random(self._ids.getrandbits(64)),
        )
        self.storage = Storage(settings, self.clock, self.faults, rng.randbytes(32))
        self.storage.origin = self.origin
        self.hooks = WebhookDeliveries()
        self.replies = FaultReplies(self.dialect, self._seconds)
        self.gate = Authenticator(settings.keys)
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
        self._responses = ResponseBuilder(self.dialect, self.storage)
        self._postman = WebhookScheduler(self.hooks, self._responses, self.faults, settings.speed)
        self._intake = CreateHandler(
            self.executor, self.storage, self.hooks, self.faults, self.replies, self.counts
        )
        self._late: list[tuple[float, int, str, JsonValue]] = []
        self._rng = rng

    # -- the endpoints ---------------------------------------------------------------

    def create(self, key: str | None, body: JsonValue) -> Reply:
        """`POST /prediction`. The moment of this call is the moment of arrival."""
        now = self.advance()
        self.counts["create_calls"] += 1
        if key is None or self.gate.account_of(key) is None:
            return self.replies.unauthorized()
        fault = self.faults.pick("create", _prompt_of(body)) or ""
        if fault == "create_late":
            arrives_at = now + self._seconds("late_seconds")
            heapq.heappush(self._late, (arrives_at, self.counts["create_calls"], key, body))
        instead = self.replies.instead(fault, self.executor.limits)
        if instead is not None:
            return instead
        reply, prediction = self._arrive(key, body, now)
        if prediction is None:
            return reply
        if prediction.hurried:
            return reply.with_fate(WireFault(delay_s=self._seconds("early_seconds")))
        return self.replies.spoiled(fault, reply)

    def get(self, key: str | None, prediction_id: str) -> Reply:
        """`GET /prediction/{id}`."""
        now = self.advance()
        self.counts["gets"] += 1
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        prediction = self._visible(key, prediction_id, now)
        fault = self.faults.pick("get", prediction.prompt if prediction else "") or ""
        instead = self.replies.instead(fault, self.executor.limits)
        if instead is not None:
            return instead
        if prediction is None:
            return self.replies.error(404, "Prediction not found")
        body = self._responses.polled(prediction, now)
        if fault == "get_unknown_word":
            body.update(status="warming", output=None)
        return self.replies.spoiled(fault, Reply(200, body))

    def cancel(self, key: str | None, prediction_id: str) -> Reply:
        """`POST /prediction/{id}/cancel`."""
        now = self.advance()
        self.counts["cancels"] += 1
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        prediction = self._visible(key, prediction_id, now)
        if prediction is None:
            return self.replies.error(404, "Prediction not found")
        fault = self.faults.pick("cancel", prediction.prompt) or ""
        instead = self.replies.instead(fault, self.executor.limits)
        if instead is not None:
            return instead
        if fault != "cancel_ignored":
            self.executor.cancel(prediction, now)
        return Reply(200, {"status": "cancelled"})

    def executions(self, key: str | None, query: Mapping[str, str]) -> Reply:
        """`GET /executions`: everybody's history, other programs' included."""
        self.advance()
        self.counts["lists"] += 1
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        fault = self.faults.pick("list") or ""
        instead = self.replies.instead(fault, self.executor.limits)
        if instead is not None:
            return instead
        try:
            question = listing.Question.parse(query)
        except ValueError as exc:
            return self.replies.error(400, str(exc))
        asked = question.offset
        question = self._shaken(question)
        cap = int(self.faults.knob("total_cap"))
        found, around = listing.page(question, self.executor.history, self.clock, cap)
        rows = [listing.row(p, self.clock, self._responses.output(p)) for p in found]
        return Reply(200, {"executions": rows, **around, "offset": asked})

    def model(self, key: str | None, slug: str) -> Reply:
        """`GET /model?slug=`: public."""
        refusal = self._refusal_of(key) if self.faults.knob("private_models") else None
        if refusal is not None:
            return refusal
        if self.faults.strikes("model_500", slug):
            return self.replies.error(500, "Internal server error")
        model = MODELS.get(slug)
        if model is None:
            return self.replies.error(404, f"Model {slug!r} not found")
        return Reply(200, model.described())

    def presign(self, key: str | None, body: JsonValue) -> Reply:
        """`POST /upload/presign`."""
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        if self.faults.strikes("presign_500"):
            return self.replies.error(500, "Internal server error")
        content_type = body.get("content_type") if isinstance(body, dict) else None
        if not isinstance(content_type, str) or not content_type:
            return self.replies.error(400, "content_type is required")
        retention = body.get("expires_in_seconds")
        if retention is not None and not isinstance(retention, int):
            return self.replies.error(400, "expires_in_seconds must be an integer")
        upload_id = f"{self._ids.getrandbits(128):032x}"
        return self.storage.presign(upload_id, content_type, retention)

    def delete_file(self, key: str | None, upload_id: str) -> Reply:
        """`DELETE /files/{id}`: 204 however often."""
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        self.storage.uploads.delete(upload_id)
        return Reply(204, b"")

    def webhooks(self, key: str | None, prediction_id: str) -> Reply:
        """`GET /webhooks/{execution_id}`: what was tried to deliver one webhook."""
        self.advance()
        refusal = self._refusal_of(key)
        if refusal is not None:
            return refusal
        record = self.hooks.record(prediction_id)
        if record is None:
            return self.replies.error(404, "webhook not found")
        return Reply(200, {**record, "created_at": self.clock.stamp(record["created_at"])})

    # -- time and webhooks -----------------------------------------------------------

    def advance(self) -> float:
        """Let happen what was due by now, in order; returns now."""
        now = self.clock.now()
        while self._late and self._late[0][0] <= now:
            at, _, key, body = heapq.heappop(self._late)
            self._postman.announce(self.executor.advance(at))
            self._arrive(key, body, at)
        self._postman.announce(self.executor.advance(now))
        return now

    def wakes_in(self) -> float | None:
        """Seconds until `deliveries` may have something; None while nothing is foreseen."""
        times = [self.hooks.next_due(), self._late[0][0] if self._late else None]
        if self.hooks.in_use:
            times.append(self.executor.next_end())
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - self.clock.now()) if due else None

    def deliveries(self) -> list[WebhookPost]:
        """The webhook POSTs to make now; each is handed out once."""
        return self.hooks.take_due(self.advance())

    def delivered(
        self, delivery: WebhookPost, status: int | None, error: str | None = None
    ) -> None:
        """How a delivery went: its HTTP status, or why there was none."""
        now = self.clock.now()
        again = self.hooks.attempted(delivery, status, error, self.clock.stamp(now))
        if again is not None:
            self.hooks.schedule(again, now + self._seconds("webhook_retry_seconds"))

    def transit_s(self) -> float:
        """The delay of the wire in one direction, drawn anew each time."""
        latency, jitter = self.faults.knob("latency"), self.faults.knob("jitter")
        if jitter:
            latency += jitter * self._rng.random()
        return latency / self.settings.speed

    # -- the work behind them --------------------------------------------------------

    def _arrive(
        self, key: str, body: JsonValue, at: float
    ) -> tuple[Reply, EmulatedPrediction | None]:
        account = self.gate.account_of(key)
        if account is None:  # a late create whose key was revoked meanwhile
            return self.replies.unauthorized(), None
        return self._intake.arrive(key, account, body, at)

    def _refusal_of(self, key: str | None) -> Reply | None:
        return self.replies.unauthorized() if self.gate.account_of(key) is None else None

    def _visible(
        self, key: str | None, prediction_id: str, now: float
    ) -> EmulatedPrediction | None:
        prediction = self.executor.find(prediction_id, now)
        if prediction is None or not self.faults.knob("isolated"):
            return prediction
        return prediction if self.gate.account_of(key) == prediction.account else None

    def _shaken(self, question: listing.Question) -> listing.Question:
        if question.offset == 0:
            return question
        shift = int(self.faults.knob("list_shift"))
        if self.faults.strikes("list_moving"):
            return replace(question, offset=max(0, question.offset - shift))
        if self.faults.strikes("list_skipping"):
            return replace(question, offset=question.offset + shift)
        return question

    def _seconds(self, knob: str) -> float:
        return self.faults.knob(knob) / self.settings.speed


def _prompt_of(body: JsonValue) -> str:
    values = body.get("input") if isinstance(body, dict) else None
    return str(values.get("prompt", "")) if isinstance(values, dict) else ""
