"""Refusals and spoiled replies, worded in a dialect.

What a fault's name means on the wire is written here and only here. Builds values; draws
no dice and counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fluxbatch.emulator.dialect import Dialect
from fluxbatch.emulator.messages import Reply, WireFault, html_page
from fluxbatch.emulator.settings import ServedLimits

SecondsOf = Callable[[str], float]
"""A knob's value in real seconds."""

RESET = Reply(0, b"", fate=WireFault(ending="reset"))
HOLD = Reply(0, b"", fate=WireFault(ending="hold"))


class FaultReplies:
    def __init__(self, dialect: Dialect, seconds: SecondsOf) -> None:
        self._dialect = dialect
        self._seconds = seconds

    def error(
        self,
        status: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        return Reply(status, self._dialect.error(message, details), headers or {})

    def unauthorized(self) -> Reply:
        return self.error(401, "Invalid or missing API key")

    def rate_limited(self, limits: ServedLimits, retry_after_s: float) -> Reply:
        return self.error(
            429,
            f"Rate limit exceeded: at most {limits.creates} predictions in {limits.window_s:g} s",
            {"limit": "rate", "allowed": limits.creates, "window_seconds": limits.window_s},
            _retry_after(retry_after_s) if limits.tells_when else None,
        )

    def too_many(self, limits: ServedLimits, retry_after_s: float) -> Reply:
        return self.error(
            429,
            f"Concurrency limit exceeded: at most {limits.concurrent} predictions in progress",
            {"limit": "concurrency", "allowed": limits.concurrent},
            _retry_after(retry_after_s) if limits.tells_when else None,
        )

    def too_poor(self) -> Reply:
        return self.error(402, "Insufficient balance for the predictions in progress")

    def instead(self, fault: str, limits: ServedLimits) -> Reply | None:
        """The reply that takes the place of the work; None if the work is to be done."""
        match fault:
            case "create_429_rate":
                return self.rate_limited(limits, 1.0)
            case "create_429_concurrent" | "get_429":
                return self.too_many(limits, 1.0)
            case "create_402":
                return self.too_poor()
            case "create_401":
                return self.unauthorized()
            case "create_403" | "list_403":
                return self.error(403, "This key is not allowed to do this")
            case "create_400":
                return self.error(400, "Invalid input for model", {"field": "input.prompt"})
            case "create_redirect":
                return Reply(308, b"", {"Location": "https://elsewhere.invalid/v1/prediction/"})
            case "get_404":
                return self.error(404, "Prediction not found")
            case "get_garbled":
                return Reply(200, b'{"status": "proc')
            case "get_503_html":
                return html_page(503, "Service Temporarily Unavailable")
            case "create_reset_before" | "create_late" | "get_reset" | "list_reset":
                return RESET
            case "get_timeout":
                return HOLD
            case (
                "create_500_before"
                | "get_500"
                | "cancel_500"
                | "list_500"
                | "presign_500"
                | "put_500"
            ):
                return self.error(500, "Internal server error")
            case _:
                return None

    def spoiled(self, fault: str, reply: Reply) -> Reply:
        """What becomes of the honest reply to work that was done."""
        match fault:
            case "create_reset_after":
                return RESET
            case "create_timeout_after":
                return HOLD
            case "create_500_after":
                return self.error(500, "Failed to create prediction")
            case "create_504_html_after":
                return html_page(504, "Gateway Time-out")
            case "create_408_after":
                return self.error(408, "Request timeout")
            case "create_garbled":
                return replace(reply, body=b'{"status": "success", "predic')
            case "create_no_id":
                return replace(reply, body={"status": "success", "message": "Prediction created"})
            case "create_slow" | "get_slow":
                return reply.with_fate(WireFault(delay_s=self._seconds("slow_seconds")))
            case _:
                return reply


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
