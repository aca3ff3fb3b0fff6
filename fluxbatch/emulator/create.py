"""A create from its arrival to its prediction or its refusal.

The order of the checks is the provider's: the body, the model, the limits, the balance.
Knows no faults of the wire; the core decides those before and after.
"""

from __future__ import annotations

import json
from collections import Counter

from fluxbatch.emulator.executor import Floor, Order
from fluxbatch.emulator.fault_replies import Replies
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.messages import Json, Reply
from fluxbatch.emulator.models import MODELS
from fluxbatch.emulator.prediction import Prediction
from fluxbatch.emulator.storage import Storage
from fluxbatch.emulator.webhooks import HookDesk


class Intake:
    def __init__(
        self,
        floor: Floor,
        storage: Storage,
        hooks: HookDesk,
        faults: FaultBook,
        replies: Replies,
        counts: Counter[str],
    ) -> None:
        self._floor = floor
        self._storage = storage
        self._hooks = hooks
        self._faults = faults
        self._replies = replies
        self._counts = counts

    def arrive(
        self, key: str, account: str, body: Json, at: float
    ) -> tuple[Reply, Prediction | None]:
        """Answer a create that reaches the provider at *at*; with its prediction, if accepted."""
        order = self._order(key, account, body)
        if isinstance(order, Reply):
            self._counts["refused_invalid"] += 1
            return order, None
        refused = self._refused(order, at)
        if refused is not None:
            return refused, None
        prediction = self._floor.take(order, at)
        if prediction.webhook_url:
            request = json.dumps({"model": prediction.model, "input": prediction.input})
            self._hooks.register(prediction.id, prediction.webhook_url, request, at)
        status = int(self._faults.knob("create_status"))
        return Reply(status, _created(prediction.id)), prediction

    def _order(self, key: str, account: str, body: Json) -> Order | Reply:
        if not isinstance(body, dict):
            return self._replies.error(400, "The body must be a JSON object")
        slug, values = body.get("model"), body.get("input")
        if not isinstance(slug, str) or not slug:
            return self._replies.error(400, "model field is required")
        model = MODELS.get(slug)
        if model is None:
            return self._replies.error(404, f"Model {slug!r} not found", {"model": slug})
        complaint = model.complaint(values)
        if complaint is not None or not isinstance(values, dict):
            return self._replies.error(400, "Invalid input for model", {"reason": complaint})
        control, unreadable = self._storage.control_of(values)
        return Order(
            key=key,
            account=account,
            model=model,
            input=values,
            control=control,
            unreadable=unreadable,
            webhook_url=body.get("webhook_url") or None,
            webhook_secret=body.get("webhook_secret") or None,
        )

    def _refused(self, order: Order, at: float) -> Reply | None:
        refusal = self._floor.refusal(order.account, order.model, at)
        if refusal is None:
            return None
        if refusal == "balance":
            self._counts["refused_balance"] += 1
            return self._replies.too_poor()
        if refusal.limit == "rate":
            self._counts["refused_rate"] += 1
            return self._replies.rate_limited(self._floor.limits, refusal.retry_after_s)
        self._counts["refused_concurrent"] += 1
        return self._replies.too_many(self._floor.limits, refusal.retry_after_s)


def _created(prediction_id: str) -> dict[str, str]:
    return {
        "status": "success",
        "message": "Prediction created successfully",
        "predictionID": prediction_id,
    }
