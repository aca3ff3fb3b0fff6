"""One prediction as the provider keeps it, and what it is fated to become.

Times are the core's clock in seconds; money is integer micro-dollars. Plain data: what
changes it is the core, what words describe it is the dialect.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class PlannedOutcome(StrEnum):
    """How a prediction will end if nobody cancels it; decided at its create."""

    SUCCESS = "success"
    ERROR = "error"
    FILTERED = "filtered"
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    SHORT_OUTPUT = "short_output"
    STUCK = "stuck"
    UNREADABLE_INPUT = "unreadable_input"


class State(StrEnum):
    ALIVE = "alive"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PlannedReason:
    """Why a prediction failed, in the provider's words."""

    code: str
    message: str
    details: str


REASONS = {
    PlannedOutcome.ERROR: PlannedReason(
        "provider_error", "Prediction failed", "CUDA error: an illegal memory access occurred"
    ),
    PlannedOutcome.FILTERED: PlannedReason(
        "content_moderated", "NSFW content detected", "The safety checker refused the output"
    ),
    PlannedOutcome.TIMEOUT: PlannedReason(
        "execution_timeout", "Prediction timed out", "Model timeout after 600s"
    ),
    PlannedOutcome.UNREADABLE_INPUT: PlannedReason(
        "invalid_user_input", "Could not download control_image", "404 Not Found"
    ),
}


@dataclass(slots=True)
class EmulatedPrediction:
    """`ends_at` is planned (inf: never); `ended_at` is when it did."""

    id: str
    serial: int
    key: str
    account: str
    model: str
    input: Mapping[str, Any]
    digest: str
    created_at: float
    starts_at: float
    ends_at: float
    outcome: PlannedOutcome
    price_micro_usd: int
    seed: int
    control: tuple[str, bytes] | None = None
    """sha256 and bytes of an uploaded control image; deleting the upload changes nothing here."""
    webhook_url: str | None = None
    webhook_secret: str | None = None
    state: State = State.ALIVE
    ended_at: float | None = None
    cost_micro_usd: int = 0
    billed: bool = False
    repeats_another: bool = False
    """Created while enough equal ones were alive or had succeeded with output."""
    hides_cost: bool = False
    hurried: bool = False
    """It ended the moment it began: its webhook overtakes the answer to its create."""
    lost_from: float = math.inf
    listed_from: float = 0.0
    stranger: bool = False

    @property
    def prompt(self) -> str:
        return str(self.input.get("prompt", ""))

    @property
    def images_asked(self) -> int:
        return int(self.input.get("num_outputs") or self.input.get("num_images") or 1)

    @property
    def output_count(self) -> int:
        """Images it has to show once it has succeeded."""
        asked = self.images_asked
        if self.outcome is PlannedOutcome.NO_OUTPUT:
            return 0
        return max(1, asked - 1) if self.outcome is PlannedOutcome.SHORT_OUTPUT else asked

    @property
    def output_format(self) -> str:
        return str(self.input.get("output_format", "webp"))

    @property
    def occupies_its_input(self) -> bool:
        """True while buying the same input again would be paying twice."""
        return self.state is State.ALIVE or (
            self.state is State.SUCCEEDED and self.output_count > 0
        )

    @property
    def reason(self) -> PlannedReason | None:
        return REASONS.get(self.outcome) if self.state is State.FAILED else None


def digest_of(model: str, values: Mapping[str, Any]) -> str:
    """Equal model and equal input JSON give equal digests, whatever the order of keys."""
    text = json.dumps([model, values], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
