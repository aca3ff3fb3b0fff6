"""Creates that nobody knows an answer to, as they are looked for.

Owns what is kept of each while it is: what was sent and when, what listings said so far, and
its outcome once there is one. Source: docs/design/protocol.md 3.4 to 3.6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import anyio

from fluxbatch.domain.job import Input
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.operations.transitions import TransitionResult
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.scheduler.lane_state_file import KeptCreate
from fluxbatch.worker.context import TrackedPrediction
from fluxbatch.worker.unknown.spans import Tried, kept_span

Outlook = Literal["alive", "absent", "failed", "ended"]


@dataclass(frozen=True, slots=True)
class UnknownCreate:
    """A create whose outcome is unknown."""

    prediction_seq: int
    job: QueuedJob
    sent: Input
    account: str
    key_fingerprint: str
    key_label: str
    intended: Timestamp
    left: Timestamp | None = None
    """None: a crash hides it."""
    given_up: Timestamp | None = None

    @property
    def tried(self) -> Tried:
        return Tried(
            self.prediction_seq, self.account, self.job.model, self.intended, self.left,
            self.given_up,
        )  # fmt: skip


@dataclass(slots=True)
class Entry:
    unanswered: UnknownCreate
    since_s: float
    """When the search for it began; monotonic, as all of these: another clock may be set."""
    done: anyio.Event = field(default_factory=anyio.Event)
    deciding: anyio.Lock = field(default_factory=anyio.Lock)
    """Held from a decision to its outcome: a listing and a webhook may come at once."""
    outcome: tuple[TransitionResult, TrackedPrediction | None] | None = None
    outlook: Outlook = "alive"
    """What the latest late, complete listings say of whatever could be it."""
    outlook_s: float = 0.0
    """When the first of them was asked for that said so."""

    def resolve(self, moved: TransitionResult, tracked: TrackedPrediction | None = None) -> None:
        self.outcome = (moved, tracked)
        self.done.set()


@dataclass(slots=True)
class LostElsewhere:
    """Another dataset's create on one of our lanes that nobody knows an answer to."""

    account: str
    kept: KeptCreate
    freed: anyio.Event = field(default_factory=anyio.Event)
    """Nothing that could be it is unfinished, or may still arrive."""

    @property
    def tried(self) -> Tried:
        return kept_span(self.account, self.kept)
