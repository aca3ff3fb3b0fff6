"""A create from its arrival to its prediction or its refusal.

The order of the checks is the provider's: the body, the model, the limits, the balance.
Knows no faults of the wire; the core decides those before and after.
"""

from __future__ import annotations

import json
from collections import Counter

from fluxbatch.emulator.executor import Executor, Order
from fluxbatch.emulator.fault_replies import FaultReplies
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.messages import JsonValue, Reply
from fluxbatch.emulator.models import MODELS
from fluxbatch.emulator.prediction import EmulatedPrediction
from fluxbatch.emulator.storage import Storage
from fluxbatch.emulator.webhooks import WebhookDeliveries


class CreateHandler:
    def __init__(
        self,
        executor: Executor,
        storage: Storage,
        hooks: WebhookDeliveries,
        faults: FaultBook,
        replies: FaultReplies,
        counts: Counter[str],
    ) -> None:
        self._executor = executor
        self._storage = storage
        self._hooks = hooks
        self._faults = faults
        self._replies = replies
        self._counts = counts

    def arrive(
        self, key: str, account: str, body: JsonValue, at: float
    ) -> tuple[Reply, EmulatedPrediction | None]:
        """Answer a create that reaches the provider at *at*; with its prediction, if accepted."""
        order = self._order(key, account, body)
        if isinstance(order, Reply):
            self._counts["refused_invalid"] += 1
            return order, None
        refused = self._refused(order, at)
        if refused is not None:
            return refused, None
        prediction = self._executor.take(order, at)
        if prediction.webhook_url:
            request = json.dumps({"model": prediction.model, "input": prediction.input})
            self._hooks.register(prediction.id, prediction.webhook_url, request, at)
        status = int(self._faults.knob("create_status"))
        return Reply(status, _created(prediction.id)), prediction

    def _order(self, key: str, account: str, body: JsonValue) -> Order | Reply:
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
        refusal = self._executor.refusal(order.account, order.model, at)
        if refusal is None:
            return None
        if refusal == "balance":
            self._counts["refused_balance"] += 1
            return self._replies.too_poor()
        if refusal.limit == "rate":
            self._counts["refused_rate"] += 1
            return self._replies.rate_limited(self._executor.limits, refusal.retry_after_s)
        self._counts["refused_concurrent"] += 1
        return self._replies.too_many(self._executor.limits, refusal.retry_after_s)


def _created(prediction_id: str) -> dict[str, str]:
    return {
        "status": "success",
        "message": "Prediction created successfully",
        "predictionID": prediction_id,
    }
