"""The context that all workers of one run share.

Owns nothing that must survive: the parts a worker needs, which account is asked with which
key, and what was noticed of the provider meanwhile. Built once by `engine.session`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Self

from fluxbatch.config.api_keys import KeyFilter
from fluxbatch.config.settings import Settings
from fluxbatch.domain.job import FailureClass, JobId, JobState, PredictionId, PredictionState
from fluxbatch.domain.money import Caps, Micros, as_usd
from fluxbatch.domain.provenance import Provenance
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode
from fluxbatch.events import Events, JobFailed, Noticed, PredictionMoved
from fluxbatch.infra.runtime import Runtime, Timestamp
from fluxbatch.ledger.operations.outputs import Keeping, WantedOutput, WantedOutputs
from fluxbatch.ledger.operations.runs import OpenedRun
from fluxbatch.ledger.operations.transitions import Evidence, Transition, TransitionResult
from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.ledger.sharing.lanes import Lease
from fluxbatch.ledger.sharing.run_controls import RunControls
from fluxbatch.ledger.writer import LedgerWriter
from fluxbatch.models.card import ModelCard
from fluxbatch.provider import Prediction, ProviderClient
from fluxbatch.queue import JobQueue
from fluxbatch.scheduler.lane_state_file import KeptCreate, LaneJournal
from fluxbatch.scheduler.lanes import Lanes
from fluxbatch.scheduler.serial import SerialCreates
from fluxbatch.scheduler.window_recovery import age_s
from fluxbatch.sink import ImageStore
from fluxbatch.worker.circuit_breaker import CircuitBreaker
from fluxbatch.worker.poll_schedule import PollSchedule
from fluxbatch.worker.stop import Stop
from fluxbatch.worker.unknown.provider_clock import ClockEstimate
from fluxbatch.worker.webhook_inbox import WebhookInbox

_SOON_S = 1.0
_ROOM_S = 1.0
LEDGER_GONE = (
    "the dataset's ledger is no longer where it was: it was removed, replaced or moved during the"
    " run, so nothing more is bought. Where the dataset was renamed, run again with its new name;"
    " where the ledger is lost:  fluxbatch recover DIR"
)
SEND_WITHIN_S = 5.0
"""How long after its intent a create may still leave. Source: docs/design/protocol.md 3.1."""


@dataclass(frozen=True, slots=True)
class TrackedPrediction:
    """A prediction at the provider, and who may ask about it."""

    prediction_seq: int
    provider_id: PredictionId
    job_id: JobId
    account: str
    key_fingerprint: str
    key_label: str
    intended: datetime
    """UTC of its intent: no listing has it from before."""
    is_presumed: bool = False
    """Found by its input or its time alone: it may be a colleague's, so it is never cancelled."""
    kind: Hashable = ()
    """What its duration depends on."""
    outputs_wanted: int = 1


@dataclass(slots=True)
class Sending:
    """A create between its intent and its answer."""

    account: str
    model: str
    intended: Timestamp
    left: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class OutputsToFetch:
    """A prediction whose outputs are to be fetched."""

    tracked: TrackedPrediction
    outputs: tuple[WantedOutput, ...]
    edition: int
    attempt: int
    """Of the prediction."""
    urls: tuple[str, ...] = ()
    """Empty: they must be asked for."""
    provenance: Provenance | None = None
    """What the images say of themselves; None where they are to say nothing, or the ledger is
    still to be asked."""

    @classmethod
    def of(
        cls, tracked: TrackedPrediction, wanted: WantedOutputs, attempt: int, urls: tuple[str, ...]
    ) -> Self:
        """What has just been named."""
        return cls(tracked, wanted.outputs, wanted.edition, attempt, urls, wanted.made)

    @property
    def made(self) -> tuple[int, int, PredictionId]:
        """The prediction as events name it: attempt, number and the provider's id."""
        return self.attempt, self.tracked.prediction_seq, self.tracked.provider_id


@dataclass(slots=True)
class WorkerContext:
    """The shared parts of one run."""

    run: OpenedRun
    settings: Settings
    card: ModelCard
    reserve: Micros
    """What one create reserves."""
    ledger: LedgerWriter
    read: LedgerReader
    images: ImageStore
    queue: JobQueue
    lanes: Lanes
    journals: dict[str, LaneJournal]
    """By account; like the next two it grows where a run at work is given a key."""
    clients: dict[str, ProviderClient]
    """By key fingerprint; every key of this invocation."""
    accounts: dict[str, str]
    """Key fingerprint to account."""
    runtime: Runtime
    events: Events
    stop: Stop
    guard: CircuitBreaker
    timing: PollSchedule = field(default_factory=PollSchedule)
    webhooks: WebhookInbox = field(default_factory=WebhookInbox)
    """Closed, unless `webhook_service` opens them."""
    dates: dict[str, tuple[datetime, Timestamp]] = field(default_factory=dict)
    """Account to the provider's own time, and the moment we read it; it may be seconds old."""
    clocks: dict[str, ClockEstimate] = field(default_factory=dict)
    """The provider's clock beside ours, by the boot whose creates told it."""
    serial: SerialCreates = field(default_factory=lambda: SerialCreates("never", 30.0))
    sending: dict[int, Sending] = field(default_factory=dict)
    """By the prediction's number; a listing may have them before their answer comes."""
    kept_elsewhere: Callable[[], list[KeptCreate]] = list
    """What other datasets on this host have written of their creates. Blocks."""
    has_listing: bool | None = None
    """Whether the provider has a history to look in; None: nobody has asked."""
    has_left: bool = False
    """The time was up, and what ran was left to the next run."""
    creates_left: float = math.inf
    """How many more creates this invocation may make (`--limit`)."""
    is_shared: bool = False
    """Whether other processes work on the same run."""
    is_eldest: Callable[[], bool] = lambda: True
    """Whether what one process does for all is this one's."""
    changed_cap: Micros | None = None
    """Of the run, where somebody changed it while it was at work (`fluxbatch ctl`)."""
    controls: RunControls | None = None
    """Of a run that processes share: what this one does as it was asked; None: nobody has read."""
    grow: Callable[[], None] = lambda: None
    """More workers are wanted: there are more slots."""
    standing_by: str = ""
    """Why this process has no lane, where they are shared; empty where it has one."""
    leases: dict[str, Lease] = field(default_factory=dict)
    """By account, where lanes are shared with other processes: those that are held."""
    in_doubt: set[str] = field(default_factory=set)
    """Accounts whose lease had run out when an intent asked for it; a heartbeat knows more."""
    other_cards: Mapping[str, ModelCard] = field(default_factory=dict)
    """Of the dataset's other models, by slug: their predictions may still be alive."""
    keys: KeyFilter = field(default_factory=KeyFilter)
    """Takes this invocation's keys out of what others say."""
    unreadable: set[int] = field(default_factory=set)
    """Numbers of predictions that no key may ask about: they are followed no more."""
    _unreachable_since: float | None = None
    _noticed: set[str] = field(default_factory=set)
    _room: tuple[float, bool] = (-math.inf, True)
    """When it was looked at, and whether there was any."""

    @property
    def keeping(self) -> Keeping:
        """How outputs are named, and whether they carry metadata."""
        sink = self.settings.sink
        return Keeping(sink.path_template, writes_metadata=sink.writes_metadata)

    @property
    def models(self) -> frozenset[str]:
        """Every model this dataset may have used."""
        return frozenset({self.card.slug, *self.other_cards})

    def card_of(self, model: str) -> ModelCard:
        """The card of a job's model; the run's own stands in for one that nobody knows."""
        return self.card if model == self.card.slug else self.other_cards.get(model, self.card)

    @property
    def longest_s(self) -> float:
        """How long after its intent a process that lives gives a create up, at the latest."""
        return SEND_WITHIN_S + self.settings.provider.timeout

    @property
    def late_s(self) -> float:
        """How long after its intent a create may still turn up.

        Source: docs/design/protocol.md 3.5.
        """
        return self.longest_s + self.settings.reconcile.lag

    def now_s(self) -> float:
        return self.runtime.clock.monotonic()

    @property
    def caps(self) -> Caps:
        """What a create is checked against from now on."""
        caps = self.settings.budget.caps
        return caps if self.changed_cap is None else {**caps, "run": self.changed_cap}

    def budget_day(self) -> str:
        """The day a create of this moment counts to. Source: docs/design/protocol.md 5."""
        return self.runtime.clock.now().utc.astimezone(self.settings.zone).date().isoformat()

    async def has_room(self) -> bool:
        """Whether the disk has `sink.min_free`; looked at once a second at most."""
        looked_s, room = self._room
        now_s = self.now_s()
        if now_s - looked_s >= _ROOM_S:
            least = self.settings.sink.min_free
            room = await self.runtime.to_thread(partial(self.images.has_room, least))
            self._room = (now_s, room)
        return room

    def slot_is_wanted(self, account: str) -> bool:
        """Whether a slot of the account's lane would be used again as soon as it is free."""
        lane = self.lanes.lane(account)
        if lane is None or not self.lanes.waiting:
            return False
        wait_s = lane.window.wait_s(self.now_s())
        return wait_s is not None and wait_s < _SOON_S

    def jittered(self, seconds: float) -> float:
        """Between half of *seconds* and all of it."""
        return seconds * (0.5 + self.runtime.random.random() / 2)

    async def move(
        self,
        prediction_seq: int,
        event: PredictionEvent,
        evidence: Evidence,
        *,
        job: JobId,
        lane: str,
    ) -> TransitionResult:
        """Make an event durable and publish it; the money it frees may be spent at once."""
        at = self.runtime.clock.now()
        moved = await self.ledger.apply(
            Transition(at, prediction_seq, event, evidence, self.keeping)
        )
        if moved.passed:
            return moved
        self.events.emit(
            PredictionMoved(
                job.hex(),
                moved.attempt,
                prediction_seq,
                moved.provider_id,
                moved.state,
                moved.job_state,
                lane,
                moved.failure,
                evidence.reason,
                cost=moved.charged or None,
            )
        )
        if moved.charged > self.reserve and self.card.price is None:
            self.reserve = moved.charged  # nobody knew, so no cap was set that could be broken
        elif moved.charged > self.reserve and not self.queue.is_closed:
            # Caps were checked with less: nothing more may be submitted on the old figure.
            self.stop(
                ExitCode.STOPPED,
                f"a prediction cost ${as_usd(moved.charged)}, more than the"
                f" ${as_usd(self.reserve)} reserved for it; the next run reserves that much",
            )
        if moved.failure is not None:
            reason = evidence.reason or moved.failure.value
            self.guard.attempt_failed(moved.failure, reason)
            if moved.job_state is JobState.FAILED:
                made = (moved.attempt, prediction_seq, moved.provider_id)
                self.job_failed(job, moved.failure, reason, *made)
        elif moved.state is PredictionState.SUCCEEDED:
            self.guard.attempt_succeeded()
        if not moved.state.is_live:
            self.queue.unblock()
        return moved

    def job_failed(
        self,
        job: JobId,
        failure: FailureClass,
        reason: str,
        attempt: int | None = None,
        prediction: int | None = None,
        provider_id: str | None = None,
    ) -> None:
        """A job reached a failed end: of a prediction, or before any."""
        self.events.emit(JobFailed(job.hex(), failure, reason, attempt, prediction, provider_id))
        self.guard.job_ended(failed=True)

    def notice_once(self, message: str) -> None:
        """Say something the first time it is true."""
        if message not in self._noticed:
            self._noticed.add(message)
            self.events.emit(Noticed(message))

    def saw_poll(self, prediction: Prediction) -> None:
        """A prediction was read: where inputs come back, creates need not wait for each other."""
        was_on = self.serial.is_on
        self.serial.saw_poll(tells_input=prediction.input is not None)
        if was_on != self.serial.is_on:
            self.lanes.changed()

    def accepts_nothing_since(self) -> float | None:
        """Monotonic seconds since when no lane gets a create accepted; None: one may."""
        if self._unreachable_since is not None:
            return self._unreachable_since
        usable = [lane for lane in self.lanes.all if lane.is_open and not lane.is_out]
        lanes = [lane.refused_since for lane in usable]
        since = [one for one in lanes if one is not None]
        return max(since) if since and len(since) == len(lanes) else None

    def reached(self) -> None:
        """The provider answered."""
        self._unreachable_since = None

    def unreachable(self, reason: str) -> None:
        """The provider could not be reached; after `provider.deadline` of that the run stops."""
        now = self.now_s()
        if self._unreachable_since is None:
            self._unreachable_since = now
            self.events.emit(Noticed(f"{reason}; trying on"))
        elif now - self._unreachable_since > self.settings.provider.deadline:
            self.stop(ExitCode.ERROR, f"the provider cannot be reached: {reason}")

    def saw_date(self, account: str, date: datetime | None, asked: Timestamp) -> None:
        """The provider gave its time, in the answer to what was *asked* then.

        An answer that the machine slept over is older than any answer can be: it tells no time.
        """
        now = self.runtime.clock.now()
        if date is not None and age_s(asked, now) <= self.settings.provider.timeout:
            self.dates[account] = (date, now)

    def knows_date(self, account: str) -> bool:
        """Whether *account* was told the provider's time since our boot clock began."""
        told = self.dates.get(account)
        return told is not None and told[1].boot_id == self.runtime.clock.now().boot_id

    def by_provider(self, account: str, then: Timestamp) -> datetime:
        """*then* by the provider's clock; by ours as long as it has given no time.

        It has one clock: what it told another account does until this one has asked. Through the
        boot clock where that can be: the wall clock may have jumped in between.
        """
        own = self.dates.get(account)
        all_told = [one for one in (own, *self.dates.values()) if one is not None]
        of_its_boot = [one for one in all_told if one[1].boot_id == then.boot_id]
        told = next(iter((*of_its_boot, *all_told)), None)
        if told is None:
            return then.utc
        date, at = told
        if at.boot_id == then.boot_id:
            return date + timedelta(seconds=then.boot_s - at.boot_s)
        return date + (then.utc - at.utc)
