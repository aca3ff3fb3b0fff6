"""Turns ends into webhook deliveries, as the faults of the post allow.

A cancelled prediction is never announced: the provider sends nothing for those.
"""

from __future__ import annotations

from fluxbatch.emulator.exchange import Delivery
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.prediction import Prediction
from fluxbatch.emulator.teller import Teller
from fluxbatch.emulator.webhooks import HookDesk


class Postman:
    def __init__(self, hooks: HookDesk, teller: Teller, faults: FaultBook, speed: float) -> None:
        self._hooks = hooks
        self._teller = teller
        self._faults = faults
        self._speed = speed

    def announce(self, ended: list[Prediction]) -> None:
        """Schedule what is owed to the webhooks of predictions that have just ended."""
        for prediction in ended:
            if prediction.webhook_url is None or prediction.ended_at is None:
                continue
            fault = self._faults.pick("webhook", prediction.prompt)
            if fault == "webhook_lost":
                continue
            delivery = Delivery(
                prediction_id=prediction.id,
                url=prediction.webhook_url,
                body=self._teller.webhook(prediction),
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
