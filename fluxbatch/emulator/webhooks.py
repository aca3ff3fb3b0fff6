"""Webhook deliveries: which are due, what each attempt came to, when to try again.

Gives out deliveries as values with the time they are due; making the POST is the
carrier's work. Knows nothing of predictions beyond their id and the payload.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.messages import WebhookPost
from fluxbatch.emulator.prediction import EmulatedPrediction
from fluxbatch.emulator.responses import ResponseBuilder

MAX_ATTEMPTS = 3


@dataclass(slots=True)
class _Hook:
    url: str
    request: str
    created_at: float
    attempts: list[dict[str, Any]] = field(default_factory=list)


class WebhookDeliveries:
    def __init__(self) -> None:
        self._hooks: dict[str, _Hook] = {}
        self._due: list[tuple[float, int, WebhookPost]] = []
        self._serial = 0
        self.delivered = self.failed = 0

    @property
    def in_use(self) -> bool:
        return bool(self._hooks)

    def register(self, prediction_id: str, url: str, request: str, now: float) -> None:
        self._hooks[prediction_id] = _Hook(url, request, now)

    def schedule(self, delivery: WebhookPost, at: float) -> None:
        self._serial += 1
        heapq.heappush(self._due, (at, self._serial, delivery))

    def next_due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def take_due(self, now: float) -> list[WebhookPost]:
        """The deliveries to make now; each is given out once."""
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        return due

    def attempted(
        self, delivery: WebhookPost, status: int | None, error: str | None, stamp: str
    ) -> WebhookPost | None:
        """Record one attempt; returns the next one to schedule, if there is to be one."""
        accepted = status is not None and 200 <= status < 300
        hook = self._hooks.get(delivery.prediction_id)
        if hook is not None:
            hook.attempts.append(_attempt(status, error, stamp, accepted=accepted))
        if accepted:
            self.delivered += 1
            return None
        if delivery.attempt >= MAX_ATTEMPTS:
            self.failed += 1
            return None
        return replace(delivery, attempt=delivery.attempt + 1)

    def record(self, prediction_id: str) -> Mapping[str, Any] | None:
        """What `GET /webhooks/{id}` knows; the caller stamps `created_at`."""
        hook = self._hooks.get(prediction_id)
        if hook is None:
            return None
        return {
            "execution_id": prediction_id,
            "url": hook.url,
            "request": hook.request,
            "headers": {"Content-Type": "application/json"},
            "source": "api-gateway",
            "created_at": hook.created_at,
            "attempts": list(hook.attempts),
        }


def _attempt(
    status: int | None, error: str | None, stamp: str, *, accepted: bool
) -> dict[str, Any]:
    return {
        "status": "SUCCESS" if accepted else "FAILED",
        "status_code": status,
        "response": None,
        "error_message": error,
        "created_at": stamp,
    }


class WebhookScheduler:
    def __init__(
        self, hooks: WebhookDeliveries, responses: ResponseBuilder, faults: FaultBook, speed: float
    ) -> None:
        self._hooks = hooks
        self._responses = responses
        self._faults = faults
        self._speed = speed

    def announce(self, ended: list[EmulatedPrediction]) -> None:
        """Schedule what is owed to the webhooks of predictions that have just ended."""
        for prediction in ended:
            if prediction.webhook_url is None or prediction.ended_at is None:
                continue
            fault = self._faults.pick("webhook", prediction.prompt)
            if fault == "webhook_lost":
                continue
            delivery = WebhookPost(
                prediction_id=prediction.id,
                url=prediction.webhook_url,
                body=self._responses.webhook(prediction),
                headers=_secret_header(prediction.webhook_secret),
                attempt=1,
            )
            due_at = prediction.ended_at
            if fault == "webhook_late":
                due_at += self._faults.knob("late_webhook_seconds") / self._speed
            self._hooks.schedule(delivery, due_at)
            if fault == "webhook_repeat":
                self._hooks.schedule(delivery, due_at)


def _secret_header(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"X-Webhook-Secret": secret}
