"""The emulator's pure core as the far end of the wire, and a witness beside it.

Owns what travels: a request that has left arrives whatever becomes of its sender, at the
provider's own time. The witness counts by itself what rules 1 to 3 forbid, at every arrival,
and knows nothing of the engine's ledger but what it is handed.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import anyio

from fluxbatch.emulator import router
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Call, Reply, WebhookPost
from fluxbatch.emulator.prediction import EmulatedPrediction, PlannedOutcome, State
from fluxbatch.emulator.settings import EmulatorSettings
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import WebhookReceiver
from tests.simulation.pictures import painted
from tests.support.clock import EPOCH, VirtualClock

ORIGIN = "http://127.0.0.1:1"
BASE_URL = f"{ORIGIN}/v1"
HOOKS_URL = "http://127.0.0.1:2"

Order = tuple[str, int]
"""What tells the jobs of a simulation apart at the provider: prompt and seed."""


class Arrived(NamedTuple):
    """What came back of a request."""

    reply: Reply | None
    """None: the connection died."""
    body: bytes


class Letter:
    """A request on its way."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.answered = anyio.Event()
        self.answer: Arrived | None = None
        self.delivery: asyncio.TimerHandle | None = None

    def lose(self) -> None:
        """It never arrives, if it has not yet."""
        if self.delivery is not None:
            self.delivery.cancel()

    @property
    def is_lost(self) -> bool:
        return self.delivery is not None and self.delivery.cancelled()


class Provider:
    """The far side. Works by timers of the loop alone, so nobody can cancel it."""

    def __init__(
        self,
        settings: EmulatorSettings,
        clock: VirtualClock,
        random: Random,
        note: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._random = random
        self.core = ProviderCore(
            settings, monotonic=clock.real_s, began=EPOCH, rng=Random(random.getrandbits(64))
        )
        self.core.listen_at(ORIGIN)
        self.posts: Counter[Order] = Counter()
        """Creates that arrived, whatever became of them."""
        self.arrivals: defaultdict[str | None, list[float]] = defaultdict(list)
        """By account: when each of these came, in the provider's seconds."""
        self.on_leave: Callable[[Order, Timestamp], None] | None = None
        """Called when a create leaves its sender."""
        self.on_post: Callable[[Order], None] | None = None
        """Called when a create arrives, before it is judged."""
        self.on_created: Callable[[EmulatedPrediction], None] | None = None
        """Called for every prediction that begins."""
        self.on_arrival: Callable[[str], None] | None = None
        self.down_until = -1.0
        """Loop time until which nobody can connect."""
        self.slow_chance = 0.0
        self.slow_s = 0.0
        self.kills_stuck_after_s = math.inf
        """When the provider itself clears away what never ends."""
        self.receiver: WebhookReceiver | None = None
        """Who listens for webhooks at the moment, in a process that is alive."""
        self.spoilt_chance = 0.0
        """How often a webhook is preceded by one that something on its way has garbled."""
        self._due: asyncio.TimerHandle | None = None
        self._known = 0
        self._flying: dict[Letter, None] = {}

    @property
    def is_down(self) -> bool:
        return self._loop.time() < self.down_until

    def post(self, method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str],
             body: bytes) -> Letter:  # fmt: skip
        """Put a request on the wire; from here on it arrives by itself."""
        parts = urlsplit(url)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(query)
        call = Call(method, parts.path, asked, {k.lower(): v for k, v in headers.items()}, body)
        letter = Letter(call)
        if _is_create(call) and self.on_leave is not None:
            self.on_leave(order_of(json.loads(body)["input"]), self._clock.now())
        trip_s = self.core.transit_s()
        if self._random.random() < self.slow_chance:
            trip_s += self.slow_s * self._random.random()
        letter.delivery = self._loop.call_later(trip_s, self._arrive, letter)
        self._flying[letter] = None
        return letter

    def sender_sleeps(self, for_s: float) -> None:
        """The lid of the sender's machine is closed: what has left it arrives, nothing else does.

        Bytes that its kernel still holds, and sends after the wake, are beyond what the engine
        claims to bear.
        """
        for letter in tuple(self._flying):
            if not letter.is_lost:
                letter.lose()
                self._arrive(letter)
        self._clock.sleep(for_s)

    def _arrive(self, letter: Letter) -> None:
        call = letter.call
        self._flying.pop(letter, None)
        if _is_create(call):
            order = order_of(json.loads(call.body)["input"])
            self.posts[order] += 1
            account = self.core.gate.account_of(self.core.dialect.key_of(call.headers))
            self.arrivals[account].append(self.core.clock.now())
            if self.on_post is not None:
                self.on_post(order)
        reply = router.handle_call(self.core, call)
        self._note(f"{call.method} {call.path} -> {reply.status} {reply.fate.ending}")
        self._tell_created()
        self._foresee()
        if self.on_arrival is not None:
            self.on_arrival(call.method)
        if reply.fate.ending == "hold":
            return
        back_s = reply.fate.delay_s + self.core.transit_s()
        self._loop.call_later(back_s, self._return, letter, reply)

    def _return(self, letter: Letter, reply: Reply) -> None:
        if reply.fate.ending == "reset":
            letter.answer = Arrived(None, b"")
        else:
            letter.answer = Arrived(reply, reply.payload(painted))
        letter.answered.set()

    def _foresee(self) -> None:
        """A create that arrives late does so at its own time, and so does a webhook."""
        wakes_in = self.core.wakes_in()
        if self._due is not None:
            self._due.cancel()
        if wakes_in is not None:
            self._due = self._loop.call_later(wakes_in + 1e-6, self._late)

    def _late(self) -> None:
        self._due = None
        for delivery in self.core.deliveries():
            self._loop.call_later(self.core.transit_s(), self._deliver, delivery)
        self._tell_created()
        self._foresee()

    def _deliver(self, delivery: WebhookPost) -> None:
        """One try, as it reaches whoever listens; what it is answered is told at once."""
        body = json.dumps(delivery.body).encode()
        status = None
        if self.receiver is not None and not self.is_down:
            if self._random.random() < self.spoilt_chance:
                self._knock(self.receiver, delivery, self._spoilt(delivery))
            status = self._knock(self.receiver, delivery, body)
        self._note(f"webhook of {delivery.prediction_id} -> {status}")
        self.core.delivered(delivery, status)
        self._foresee()

    def _knock(self, receiver: WebhookReceiver, delivery: WebhookPost, body: bytes | None) -> int:
        path, secret = urlsplit(delivery.url).path, delivery.headers["X-Webhook-Secret"]
        if receiver.authorize("POST", path, f"{secret}0").attempt is not None:
            raise AssertionError("a wrong secret was let in")
        verdict = receiver.authorize("POST", path, secret)
        if verdict.attempt is not None:
            receiver.receive(verdict.attempt, body)
        return verdict.status

    def _spoilt(self, delivery: WebhookPost) -> bytes | None:
        """Verified, and worth nothing but a hint."""
        bodies = (
            None,
            b"<html>",
            json.dumps(delivery.body).encode()[:-9],
            json.dumps({**delivery.body, "status": "warming"}).encode(),
            json.dumps({**delivery.body, "output": []}).encode(),
            json.dumps({**delivery.body, "status": "failed", "error": ""}).encode(),
        )
        return self._random.choice(bodies)

    def _tell_created(self) -> None:
        history = self.core.executor.history
        for prediction in history[self._known :]:
            if prediction.outcome is PlannedOutcome.STUCK and self.kills_stuck_after_s < math.inf:
                self._loop.call_later(self.kills_stuck_after_s, self._kill, prediction)
            if not prediction.stranger and self.on_created is not None:
                self.on_created(prediction)
        self._known = len(history)

    def _kill(self, prediction: EmulatedPrediction) -> None:
        self.core.executor.cancel(prediction, self.core.advance())

    def ours(self) -> list[EmulatedPrediction]:
        """Every prediction that is not a stranger's."""
        return [p for p in self.core.executor.history if not p.stranger]


def _is_create(call: Call) -> bool:
    return call.method == "POST" and call.path.rstrip("/") == "/v1/prediction"


def order_of(values: Mapping[str, Any]) -> Order:
    return str(values.get("prompt", "")), int(values.get("seed", -1))


def may_cost(prediction: EmulatedPrediction) -> int:
    """What it has cost, or what it may still cost."""
    if prediction.state is State.ALIVE:
        return prediction.price_micro_usd
    return prediction.cost_micro_usd if prediction.billed else 0
