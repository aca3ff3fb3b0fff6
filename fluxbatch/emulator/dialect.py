"""The two ways this provider talks: the model card's and the public documentation's.

Owns auth headers, error bodies, status words, output shapes and the places of a reason.
A dialect words what the core decided; it decides nothing and holds no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fluxbatch.emulator.prediction import EmulatedPrediction, State
from fluxbatch.emulator.settings import DialectName

BodyShape = Callable[[Sequence[str]], Any]


class Dialect(Protocol):
    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """The key that a request presents, from this dialect's header alone."""

    def error(self, message: str, details: Mapping[str, Any] | None) -> dict[str, Any]:
        """The body of a refusal."""

    def status_word(self, prediction: EmulatedPrediction, now: float) -> str:
        """The word `GET /prediction/{id}` uses."""

    def output(self, prediction: EmulatedPrediction, urls: Sequence[str]) -> Any:
        """The shape of a success's output."""

    def polled(self, prediction: EmulatedPrediction, origin: str) -> dict[str, Any]:
        """The id, whatever is told beside status, output and metrics, and why it failed."""

    def webhook(self, prediction: EmulatedPrediction, output: Any) -> dict[str, Any]:
        """The payload of a delivery."""


class CardDialect:
    """As the model card writes it, and nothing more: no input, no logs, no addresses."""

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-api-key") or None

    def error(self, message: str, details: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"status": "error", "message": message, "details": _in_words(details)}

    def status_word(self, prediction: EmulatedPrediction, now: float) -> str:
        return {
            State.ALIVE: "processing",
            State.SUCCEEDED: "success",
            State.FAILED: "error",
            State.CANCELLED: "cancelled",
        }[prediction.state]

    def output(self, prediction: EmulatedPrediction, urls: Sequence[str]) -> Any:
        return urls[0] if prediction.images_asked == 1 else list(urls)

    def polled(self, prediction: EmulatedPrediction, origin: str) -> dict[str, Any]:
        reason = prediction.reason
        named = {"predictionID": prediction.id}
        if reason is None:
            return named
        return {**named, "message": reason.message, "details": reason.details}

    def webhook(self, prediction: EmulatedPrediction, output: Any) -> dict[str, Any]:
        body = _delivered(prediction, output)
        if prediction.reason is not None:
            body["error"] = f"{prediction.reason.message}: {prediction.reason.details}"
        return body


class DocsDialect:
    """As the documentation writes it; where that varies, so does this, by serial number."""

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def error(self, message: str, details: Mapping[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {"error": message, "status": "error"}
        return {**body, "details": dict(details)} if details else body

    def status_word(self, prediction: EmulatedPrediction, now: float) -> str:
        words = {
            State.SUCCEEDED: ("success", "success", "completed"),
            State.FAILED: ("error", "failed"),
            State.CANCELLED: ("cancelled", "canceled"),
            State.ALIVE: ("processing",),
        }[prediction.state]
        if prediction.state is State.ALIVE and now < prediction.starts_at:
            words = ("created", "queued", "starting")
        return words[prediction.serial % len(words)]

    def output(self, prediction: EmulatedPrediction, urls: Sequence[str]) -> Any:
        shapes = _SHAPES_OF_ONE if len(urls) == 1 else _SHAPES_OF_MANY
        return shapes[prediction.serial % len(shapes)](urls)

    def polled(self, prediction: EmulatedPrediction, origin: str) -> dict[str, Any]:
        reason = prediction.reason
        address = f"{origin}/v1/prediction/{prediction.id}"
        named: dict[str, Any] = {
            "id": prediction.id,
            "input": prediction.input,
            "logs": "",
            "urls": {"get": address, "cancel": f"{address}/cancel"},
        }
        if reason is None:
            return named
        if prediction.serial % 2:
            return {**named, "logs": f"Error: {reason.message}: {reason.details}"}
        return {**named, "output": {"error_code": reason.code, "error_message": reason.message}}

    def webhook(self, prediction: EmulatedPrediction, output: Any) -> dict[str, Any]:
        body = _delivered(prediction, output)
        body["flow_id"] = ""
        if prediction.reason is not None:
            body["output"] = [{"error": prediction.reason.message}]
        return body


def _delivered(prediction: EmulatedPrediction, output: Any) -> dict[str, Any]:
    word = "failed" if prediction.state is State.FAILED else "succeeded"
    return {"exec_id": prediction.id, "status": word, "output": output}


def _in_words(details: Mapping[str, Any] | None) -> str:
    return "; ".join(f"{name}: {value}" for name, value in (details or {}).items())


_SHAPES_OF_MANY: tuple[BodyShape, ...] = (
    list,
    lambda urls: [{"url": url, "content_type": "image"} for url in urls],
    lambda urls: {"images": list(urls)},
    lambda urls: {"images": [{"url": url} for url in urls]},
)
_SHAPES_OF_ONE: tuple[BodyShape, ...] = (
    lambda urls: urls[0],
    lambda urls: {"url": urls[0]},
    *_SHAPES_OF_MANY,
)

DIALECTS: dict[DialectName, Dialect] = {"card": CardDialect(), "docs": DocsDialect()}
