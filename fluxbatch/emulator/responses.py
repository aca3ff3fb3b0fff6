"""A prediction as the provider's response body, with freshly signed URLs.

Joins the dialect and the storage; decides nothing about either.
"""

from __future__ import annotations

from typing import Any

from fluxbatch.emulator.dialect import Dialect
from fluxbatch.emulator.prediction import EmulatedPrediction, State
from fluxbatch.emulator.storage import Storage


class ResponseBuilder:
    def __init__(self, dialect: Dialect, storage: Storage) -> None:
        self._dialect = dialect
        self._storage = storage

    def polled(self, prediction: EmulatedPrediction, now: float) -> dict[str, Any]:
        """The answer of `GET /prediction/{id}`."""
        ended_at = prediction.ended_at
        metrics: dict[str, float] = {}
        if ended_at is not None:
            metrics["predict_time"] = round(max(0.0, ended_at - prediction.starts_at), 3)
            if not prediction.hides_cost:
                metrics["cost"] = prediction.cost_micro_usd / 1_000_000
        return {
            "status": self._dialect.status_word(prediction, now),
            "output": self.output(prediction),
            "metrics": metrics,
            **self._dialect.polled(prediction, self._storage.origin),
        }

    def output(self, prediction: EmulatedPrediction) -> Any:
        """A success's URLs in the dialect's shape; without any, one of the empty values."""
        urls = self._storage.urls(prediction)
        if urls:
            return self._dialect.output(prediction, urls)
        empty: tuple[Any, ...] = (None, [], "")
        return empty[prediction.serial % 3] if prediction.state is State.SUCCEEDED else None

    def webhook(self, prediction: EmulatedPrediction) -> dict[str, Any]:
        """The payload that reports an end."""
        return self._dialect.webhook(prediction, self.output(prediction))
