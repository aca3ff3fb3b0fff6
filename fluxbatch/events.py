"""The events of a run, for its listeners: the terminal, the log, the metrics.

Owns the vocabulary and the one way to listen. Events are immutable facts, published
after they are durable; nobody may steer the engine by them, and a listener
that raises is a bug that ends the run rather than a silence. Measurements are apart: too many
to be told to everybody, they are for the metrics alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from fluxbatch.domain.job import FailureClass, JobState, PredictionState
from fluxbatch.domain.money import DollarsOf, DollarsOrNone, Micros


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Progress of reading a manifest."""

    rows: int
    invalid: int
    finished: bool


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run began, or one that had not ended goes on."""

    run_id: str
    continued: bool
    jobs: int
    done: int
    run_cost: Micros
    dataset_cost: Micros

    run_cost_usd = DollarsOf("run_cost")
    dataset_cost_usd = DollarsOf("dataset_cost")


@dataclass(frozen=True, slots=True)
class PredictionMoved:
    """A prediction changed its state, and its job perhaps with it."""

    job: str
    """The job's id in hex."""
    attempt: int
    """Which of the job's predictions, from 1; `why` calls it so too."""
    prediction: int
    """The ledger's number of the prediction."""
    provider_id: str | None
    """The prediction's id at the provider, once it is known."""
    state: PredictionState
    job_state: JobState
    lane: str
    failure: FailureClass | None = None
    reason: str | None = None
    model: str | None = None
    """Told at its intent, as its seed is."""
    seed: int | None = None
    """None: none is sent."""
    cost: Micros | None = None
    """Micro-dollars, as far as they are known; None before it has cost anything."""

    cost_usd = DollarsOrNone("cost")


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job reached a failed end."""

    job: str
    failure: FailureClass
    reason: str
    attempt: int | None = None
    """Of the prediction it failed of; None for a job refused before any."""
    prediction: int | None = None
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputStored:
    """One image is on disk and in the ledger."""

    job: str
    path: str
    bytes: int
    job_done: bool
    verify_s: float
    """CPU seconds spent on decoding it."""
    attempt: int
    prediction: int
    provider_id: str


@dataclass(frozen=True, slots=True)
class LaneChanged:
    """A lane's health changed: a pause, a key out, back to work."""

    lane: str
    health: str
    reason: str
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stopping:
    """No more is submitted from here on; what runs is finished."""

    reason: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something the user should read; nothing stops because of it."""

    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of a run."""

    run_id: str
    exit_code: int
    reason: str


Event = (
    RowsRead
    | RunStarted
    | PredictionMoved
    | JobFailed
    | OutputStored
    | LaneChanged
    | Stopping
    | Noticed
    | RunEnded
)
Listener = Callable[[Event], None]

EVENT_NAMES: dict[type[Event], str] = {
    RowsRead: "rows read",
    RunStarted: "run started",
    PredictionMoved: "prediction moved",
    JobFailed: "job failed",
    OutputStored: "output stored",
    LaneChanged: "lane changed",
    Stopping: "stopping",
    Noticed: "noticed",
    RunEnded: "run ended",
}
"""As logs call them."""
WARNINGS = (JobFailed, LaneChanged, Stopping, Noticed)
"""What somebody should look at."""


def event_fields(event: Event) -> dict[str, Any]:
    """The event's own values, by their names; what is not known is left out."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return {name: value for name, value in values.items() if value not in (None, "")}


class RequestMeasured(NamedTuple):
    """A request to the provider's API, answered or not."""

    route: str
    """`POST /prediction`; ids in it are `{id}`."""
    code: str
    """The status; `none`: it may have arrived; `unsent`: it has not."""
    seconds: float


class PermitMeasured(NamedTuple):
    """How long a job that was ready waited for a slot and an entry in the window."""

    seconds: float


class CommitMeasured(NamedTuple):
    """A group of changes was committed to the ledger, or failed to be."""

    seconds: float


class WebhookMeasured(NamedTuple):
    """Somebody called at the address of webhooks."""

    result: WebhookResult


WebhookResult = Literal["read", "unreadable", "refused"]
"""Refused: not one of ours."""
Measurement = RequestMeasured | PermitMeasured | CommitMeasured | WebhookMeasured
Meter = Callable[[Measurement], None]


class Events:
    """Hands every event to every listener, in order, at once; measurements to the meters."""

    def __init__(self, *listeners: Listener, meters: Sequence[Meter] = ()) -> None:
        self._listeners = listeners
        self._meters = tuple(meters)

    @property
    def are_measured(self) -> bool:
        """Whether anybody asks for measurements."""
        return bool(self._meters)

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def measure(self, measurement: Measurement) -> None:
        for meter in self._meters:
            meter(measurement)

    def heard_by(self, *listeners: Listener, meters: Sequence[Meter] = ()) -> Events:
        """The same, with these listeners after them."""
        return Events(*self._listeners, *listeners, meters=(*self._meters, *meters))
