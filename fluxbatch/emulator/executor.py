"""The executor of predictions: they begin here, run, end and are charged.

Owns every prediction and the accounts they count against. Nothing runs by itself: the
owner calls `advance` with the time, and ends happen in their order, at their own time.
Knows no HTTP, no dialect and no URLs.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fluxbatch.emulator.billing import Billing
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.limits import Allowance, Refusal, Witness
from fluxbatch.emulator.models import Model
from fluxbatch.emulator.prediction import EmulatedPrediction, PlannedOutcome, State, digest_of
from fluxbatch.emulator.settings import ServedLimits

_STARTING_SHARE = 0.05  # of a prediction's time is spent waiting for a machine


@dataclass(frozen=True, slots=True)
class Order:
    """A create that has passed every check but the limits."""

    key: str
    account: str
    model: Model
    input: Mapping[str, Any]
    control: tuple[str, bytes] | None = None
    unreadable: bool = False
    webhook_url: str | None = None
    webhook_secret: str | None = None


@dataclass(slots=True)
class _Account:
    allowance: Allowance = field(default_factory=Allowance)
    witness: Witness = field(default_factory=Witness)


class Executor:
    def __init__(
        self,
        limits: ServedLimits,
        speed: float,
        faults: FaultBook,
        rng: random.Random,
        ids: random.Random,
    ) -> None:
        self.limits = limits
        self.billing = Billing()
        self.history: list[EmulatedPrediction] = []
        self._speed = speed
        self._faults = faults
        self._rng = rng
        self._ids = ids
        self._strangers_rng = random.Random(rng.getrandbits(64))
        self._strangers_ids = random.Random(ids.getrandbits(64))
        self._by_id: dict[str, EmulatedPrediction] = {}
        self._ends: list[tuple[float, int, EmulatedPrediction]] = []
        self._accounts: dict[str, _Account] = {}

    def refusal(self, account: str, model: Model, at: float) -> Refusal | Literal["balance"] | None:
        """Why a create arriving at *at* is refused."""
        state = self._account(account)
        state.witness.attempted(at, self._window_s)
        refusal = state.allowance.refusal(at, self.limits, self._window_s)
        if refusal is not None:
            return refusal
        return None if self.billing.can_pay(account, model.price_micro_usd) else "balance"

    def take(self, order: Order, at: float) -> EmulatedPrediction:
        """Begin a prediction; the limits were asked just before."""
        if self._faults.strikes("list_strangers"):
            self._begin_stranger(order, at, {**order.input, "prompt": "a stranger's own picture"})
        if self._faults.strikes("list_strangers_equal"):
            self._begin_stranger(order, at, order.input)
        prediction = self._fated(self._blank(order, order.input, at, self._rng, self._ids))
        account = self._account(order.account)
        account.allowance.accept(at)
        account.witness.arrived(at, self._window_s)
        self.billing.open(prediction)
        self._enter(prediction)
        return prediction

    def advance(self, to: float) -> list[EmulatedPrediction]:
        """Let everything end that ends up to *to*; returns what ended, in order."""
        ended = []
        while self._ends and self._ends[0][0] <= to:
            ends_at, _, prediction = heapq.heappop(self._ends)
            if prediction.state is State.ALIVE:
                failed = prediction.outcome in (
                    PlannedOutcome.ERROR,
                    PlannedOutcome.FILTERED,
                    PlannedOutcome.TIMEOUT,
                    PlannedOutcome.UNREADABLE_INPUT,
                )
                self._end(prediction, State.FAILED if failed else State.SUCCEEDED, ends_at)
                ended.append(prediction)
        return ended

    def cancel(self, prediction: EmulatedPrediction, at: float) -> None:
        if prediction.state is State.ALIVE:
            self._end(prediction, State.CANCELLED, at)

    def find(self, prediction_id: str, now: float) -> EmulatedPrediction | None:
        prediction = self._by_id.get(prediction_id)
        return None if prediction is None or now >= prediction.lost_from else prediction

    def next_end(self) -> float | None:
        return self._ends[0][0] if self._ends else None

    def witnessed(self, now: float) -> dict[str, float]:
        """The worst of every account, and the sums over them."""
        witnesses = [account.witness for account in self._accounts.values()]
        return {
            "worst_window": max((w.worst_window for w in witnesses), default=0),
            "worst_attempts": max((w.worst_attempts for w in witnesses), default=0),
            "later_attempts": max((w.later_attempts for w in witnesses), default=0),
            "worst_concurrency": max((w.worst_concurrency for w in witnesses), default=0),
            "unfinished": sum(w.alive for w in witnesses),
            "slot_seconds": sum(w.slot_seconds(now) for w in witnesses),
        }

    def witnessed_by_account(self, now: float) -> dict[str, dict[str, float]]:
        return {
            name: {
                "worst_window": account.witness.worst_window,
                "worst_concurrency": account.witness.worst_concurrency,
                "unfinished": account.witness.alive,
                "slot_seconds": account.witness.slot_seconds(now),
            }
            for name, account in self._accounts.items()
        }

    @property
    def _window_s(self) -> float:
        return self.limits.window_s / self._speed

    def _account(self, name: str) -> _Account:
        return self._accounts.setdefault(name, _Account())

    def _blank(
        self,
        order: Order,
        values: Mapping[str, Any],
        at: float,
        rng: random.Random,
        ids: random.Random,
    ) -> EmulatedPrediction:
        median_s = self._faults.knob("duration") / self._speed
        duration_s = median_s * math.exp(rng.gauss(0.0, 1.0) * self._faults.knob("sigma"))
        drawn_seed = rng.getrandbits(32)
        seed = values.get("seed")
        return EmulatedPrediction(
            id=_uuid(ids),
            serial=len(self.history),
            key=order.key,
            account=order.account,
            model=order.model.slug,
            input=values,
            digest=digest_of(order.model.slug, values),
            created_at=at,
            starts_at=at + duration_s * _STARTING_SHARE,
            ends_at=at + duration_s,
            outcome=PlannedOutcome.UNREADABLE_INPUT if order.unreadable else PlannedOutcome.SUCCESS,
            price_micro_usd=order.model.price_micro_usd,
            seed=drawn_seed if seed is None else int(seed),
            control=order.control,
            webhook_url=order.webhook_url,
            webhook_secret=order.webhook_secret,
            listed_from=at,
        )

    def _fated(self, prediction: EmulatedPrediction) -> EmulatedPrediction:
        faults, prompt = self._faults, prediction.prompt
        fault = faults.pick("prediction", prompt)
        if fault == "prediction_lost":
            prediction.lost_from = (prediction.created_at + prediction.ends_at) / 2
        elif fault is not None:
            prediction.outcome = PlannedOutcome(fault.removeprefix("prediction_"))
        if prediction.outcome is PlannedOutcome.STUCK:
            prediction.ends_at = math.inf
        if prediction.webhook_url and faults.strikes("webhook_early", prompt):
            prediction.hurried = True
            prediction.starts_at = prediction.ends_at = prediction.created_at
        if faults.strikes("cost_higher", prompt):
            price = prediction.price_micro_usd * faults.knob("cost_factor")
            prediction.price_micro_usd = round(price)
        if faults.strikes("list_late", prompt):
            prediction.listed_from += faults.knob("list_lag") / self._speed
        prediction.hides_cost = faults.strikes("no_cost", prompt)
        return prediction

    def _begin_stranger(self, order: Order, at: float, values: Mapping[str, Any]) -> None:
        stranger = self._blank(order, values, at, self._strangers_rng, self._strangers_ids)
        stranger.stranger = True
        stranger.key = stranger.account = "stranger"
        stranger.webhook_url = None
        self._enter(stranger)

    def _enter(self, prediction: EmulatedPrediction) -> None:
        self._by_id[prediction.id] = prediction
        self.history.append(prediction)
        if prediction.ends_at < math.inf:
            heapq.heappush(self._ends, (prediction.ends_at, prediction.serial, prediction))

    def _end(self, prediction: EmulatedPrediction, state: State, at: float) -> None:
        prediction.state = state
        prediction.ended_at = at
        if prediction.stranger:
            prediction.cost_micro_usd = prediction.price_micro_usd
            return
        account = self._account(prediction.account)
        account.allowance.end()
        account.witness.ended(at)
        self.billing.close(prediction, charge=self._is_charged(prediction))

    def _is_charged(self, prediction: EmulatedPrediction) -> bool:
        match prediction.state:
            case State.FAILED:
                return self._faults.strikes("bill_errors", prediction.prompt)
            case State.CANCELLED:
                return self._faults.strikes("bill_cancelled", prediction.prompt)
            case _:
                return True


def _uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
