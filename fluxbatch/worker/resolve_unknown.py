"""The resolution of creates without an answer: found in the listing, absent, or unknown.

Owns the search for them while a run goes on. Nothing here ever creates: a job comes
back to the queue only when two late enough, complete listings lack its create.
Other programs' predictions differ by their input; where the input does not decide, the
create stays unknown, its money reserved. Source: docs/design/protocol.md 3.4 to 3.6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import anyio

from fluxbatch.domain.job import Input, JobState, PredictionId, PredictionState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ApiError, ExitCode, NotFound
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.operations.maintenance import BY_INPUT
from fluxbatch.ledger.operations.transitions import Evidence, TransitionResult
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.ledger.queries.recovery import known_prediction_ids
from fluxbatch.models.card import ModelCard
from fluxbatch.provider import Execution, ProviderClient
from fluxbatch.scheduler.lane_state_file import LaneFile
from fluxbatch.scheduler.window_recovery import age_s
from fluxbatch.worker.context import SEND_WITHIN_S, TrackedPrediction, WorkerContext
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

_MARGIN_S = 10.0
"""How much earlier than the intent a listing may date its creation: clocks round and differ."""
_UNSURE_S = 86_400.0
_SOON_S = 1.0
_LISTED = "found in the provider's listing"


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


@dataclass(slots=True)
class _Entry:
    unanswered: UnknownCreate
    given_up_s: float
    """Monotonic."""
    since: Timestamp
    done: anyio.Event = field(default_factory=anyio.Event)
    deciding: anyio.Lock = field(default_factory=anyio.Lock)
    """Held from a decision to its outcome: a listing and a webhook may come at once."""
    outcome: tuple[TransitionResult, TrackedPrediction | None] | None = None
    lacking: list[float] = field(default_factory=list)
    """When late, complete listings without it were asked for, by the boot clock."""

    def resolve(self, moved: TransitionResult, tracked: TrackedPrediction | None = None) -> None:
        self.outcome = (moved, tracked)
        self.done.set()


@dataclass(frozen=True, slots=True)
class _Seen:
    """One listing, as far as it matters here."""

    candidates: tuple[Execution, ...]
    """Of the model and not in the ledger; their inputs have been read."""
    began: datetime | None
    """By the provider's clock."""
    is_whole: bool
    """Nothing in it could be hiding one of ours."""


_HELD = TransitionResult(PredictionState.UNKNOWN, JobState.ACTIVE)


class UnknownResolver:
    """The unknown creates of one run."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._entries: list[_Entry] = []
        self._wake = anyio.Event()
        self._inputs: dict[PredictionId, Mapping[str, object] | None] = {}
        """What listed predictions that are not ours were asked for; read once each."""
        self._idle_since: float | None = None

    async def resolve(
        self, unanswered: UnknownCreate
    ) -> tuple[TransitionResult, TrackedPrediction | None]:
        """Wait until the create is found (then it runs), absent, or given up for this run."""
        entry = _Entry(unanswered, self._context.now_s(), self._context.runtime.clock.now())
        self._entries.append(entry)
        self._wake.set()
        try:
            async with anyio.create_task_group() as listening:
                listening.start_soon(self._listen, entry, name="late-webhook")
                await entry.done.wait()
                listening.cancel_scope.cancel()
        finally:
            self._entries.remove(entry)
        assert entry.outcome is not None
        return entry.outcome

    async def run(self) -> None:
        """Look for unknown creates as long as there are any, until cancelled."""
        while True:
            with anyio.move_on_after(self._spacing_s if self._open() else None):
                await self._wake.wait()
                self._wake = anyio.Event()
                # Most lost creates are listed at once; others may be lost with it.
                await anyio.sleep(min(_SOON_S, self._spacing_s / 2))
            for account in sorted({entry.unanswered.account for entry in self._open()}):
                await self._look(account)
            await self._give_up_what_is_late()
            self._end_if_idle()

    @property
    def _spacing_s(self) -> float:
        """10 s where `reconcile.lag` is 30 s; tests scale both."""
        return max(self._context.settings.reconcile.lag / 3, 0.05)

    def _open(self) -> list[_Entry]:
        return [entry for entry in self._entries if not entry.done.is_set()]

    async def _look(self, account: str) -> None:
        """One listing for one account, and what it says of each unknown create."""
        entries = [entry for entry in self._open() if entry.unanswered.account == account]
        if not entries:
            return  # a webhook was quicker
        for client in self._clients(account, entries):
            try:
                await self._learn_date(client, account)
                asked = self._context.runtime.clock.now()
                since = min(self._earliest(entry.unanswered) for entry in entries)
                models = {entry.unanswered.job.model for entry in entries}
                seen = await self._list(client, account, since, models)
            except ApiError as exc:
                self._context.notice_once(f"unknown creates cannot be looked for now: {exc}")
                continue
            lacking = await self._match(entries, seen.candidates)
            if seen.is_whole:
                await self._absent(lacking, seen.began, asked)
            return

    async def _learn_date(self, client: ProviderClient, account: str) -> None:
        """The provider's clock, before anything is looked for by it."""
        if account not in self._context.dates:
            now = self._context.runtime.clock.now().utc
            self._context.saw_date(account, (await client.listing(since=now, until=now)).began)

    def _earliest(self, one: UnknownCreate) -> datetime:
        """No listing dates its creation earlier than this.

        What an earlier boot intended is dated by the wall clock alone, which may have been wrong
        by hours until somebody set it.
        """
        now = self._context.runtime.clock.now()
        intended = self._context.by_provider(one.account, one.intended)
        if one.intended.boot_id == now.boot_id:
            return intended - timedelta(seconds=_MARGIN_S)
        intended = min(intended, self._context.by_provider(one.account, now))
        return intended - timedelta(seconds=_UNSURE_S)

    def _clients(self, account: str, entries: Sequence[_Entry]) -> list[ProviderClient]:
        """Keys that see the account's history: its own first."""
        own = [entry.unanswered.key_fingerprint for entry in entries]
        names = [*own, *(n for n, a in self._context.accounts.items() if a == account)]
        return [
            self._context.clients[n] for n in dict.fromkeys(names) if n in self._context.clients
        ]

    async def _list(
        self, client: ProviderClient, account: str, since: datetime, models: Collection[str]
    ) -> _Seen:
        now = self._context.by_provider(account, self._context.runtime.clock.now())
        # The date behind that may have been as old as an answer can be when it came.
        margin = timedelta(seconds=_MARGIN_S + self._context.settings.provider.timeout)
        listing = await client.listing(since=since, until=now + margin)
        self._context.reached()
        rows = [row for row in listing.rows if row.model in models]
        ids = [row.prediction_id for row in rows]
        known = await self._context.read(partial(known_prediction_ids, ids=ids))
        candidates = tuple(row for row in rows if row.prediction_id not in known)
        readable = [await self._read_input(client, row) for row in candidates]
        return _Seen(candidates, listing.began, listing.is_complete and all(readable))

    async def _read_input(self, client: ProviderClient, row: Execution) -> bool:
        """Whether it is known what *row* was asked for.

        It may be of another account, whose predictions this key cannot read.
        """
        others = (one for one in self._context.clients.values() if one is not client)
        for reader in (client, *others):
            if row.prediction_id in self._inputs:
                break
            try:
                prediction = await reader.get(row.prediction_id)
            except NotFound:
                continue
            if prediction.input is not None:
                self._inputs[row.prediction_id] = prediction.input
        return row.prediction_id in self._inputs

    async def _listen(self, entry: _Entry) -> None:
        """Its own webhook proves it ours, and may do so before any listing has it."""
        named = await self._context.webhooks.mailbox(entry.unanswered.prediction_seq).named()
        await self._adopt(entry, named, BY_WEBHOOK, "its webhook came")

    async def _match(
        self, entries: Sequence[_Entry], candidates: Sequence[Execution]
    ) -> list[_Entry]:
        """Adopt what is found; the entries that were not."""
        free = list(candidates)
        lacking = []
        for entry in entries:
            if entry.done.is_set():
                continue
            row = self._nearest(entry.unanswered, free)
            if row is None:
                lacking.append(entry)
                continue
            free.remove(row)
            await self._adopt(entry, row.prediction_id, BY_INPUT, _LISTED)
        return lacking

    def _nearest(self, wanted: UnknownCreate, free: Sequence[Execution]) -> Execution | None:
        card = self._context.card_of(wanted.job.model)
        intended = self._context.by_provider(wanted.account, wanted.intended)
        earliest = self._earliest(wanted)

        def distance(row: Execution) -> timedelta:
            return abs((row.created_at or intended) - intended)

        fitting = [
            row
            for row in free
            if (row.created_at is None or row.created_at >= earliest)
            and row.model == wanted.job.model
            and is_same_input(wanted.sent, self._inputs.get(row.prediction_id), card)
        ]
        return min(fitting, key=distance, default=None)

    async def _adopt(self, entry: _Entry, name: PredictionId, adopted: str, reason: str) -> None:
        one = entry.unanswered
        async with entry.deciding:
            if entry.done.is_set():
                return
            evidence = Evidence(provider_id=name, adopted=adopted, reason=reason)
            moved = await self._move(entry, PredictionEvent.FOUND, evidence)
            if moved.state is not PredictionState.RUNNING:
                return
            if (journal := self._context.journals.get(one.account)) is not None:
                # Other datasets count it from here, and can see by its id when its slot is free.
                at = self._context.runtime.clock.now()
                journal.note(partial(_found, one.prediction_seq, at, name))
            tracked = TrackedPrediction(
                one.prediction_seq, name, one.job.job_id, one.account, one.key_fingerprint,
                one.key_label, one.intended.utc, by_input=adopted == BY_INPUT,
                kind=kind_of(one.job.input), outputs_wanted=one.job.outputs_wanted,
            )  # fmt: skip
            entry.resolve(moved, tracked)

    async def _end(self, entry: _Entry, event: PredictionEvent, reason: str) -> None:
        """Absent or given up, unless it has been found meanwhile."""
        async with entry.deciding:
            if not entry.done.is_set():
                entry.resolve(await self._move(entry, event, Evidence(reason=reason)))

    async def _move(
        self, entry: _Entry, event: PredictionEvent, evidence: Evidence
    ) -> TransitionResult:
        one = entry.unanswered
        return await self._context.move(
            one.prediction_seq, event, evidence, job=one.job.job_id, lane=one.key_label
        )

    async def _absent(
        self, lacking: Sequence[_Entry], began: datetime | None, asked: Timestamp
    ) -> None:
        """Count a listing that lacks them, where it is late enough; the second one decides."""
        if began is None:
            self._context.notice_once(
                "the provider's listing tells no time, so it proves no absence"
            )
            return
        for entry in lacking:
            if not self._is_late(entry, began, asked):
                continue
            entry.lacking.append(asked.boot_s)
            if asked.boot_s - entry.lacking[0] >= self._spacing_s:
                reason = "two complete listings, late enough, do not have it"
                await self._end(entry, PredictionEvent.ABSENT, reason)

    def _is_late(self, entry: _Entry, began: datetime, asked: Timestamp) -> bool:
        """Whether nothing of it can have been on its way any more when a listing began.

        By our boot clock and by the provider's: an answer may come out of a gateway's cache. What
        an earlier boot intended is at least as old as the search for it.
        """
        one, settings = entry.unanswered, self._context.settings
        late_s = SEND_WITHIN_S + settings.provider.timeout + settings.reconcile.lag
        searched_s = asked.boot_s - entry.since.boot_s
        if max(age_s(one.intended, asked), searched_s) < late_s:
            return False
        late = self._context.by_provider(one.account, one.intended) + timedelta(seconds=late_s)
        return began >= late or one.intended.boot_id != asked.boot_id

    async def _give_up_what_is_late(self) -> None:
        """After `provider.deadline` an unknown create holds no slot any more; its money it does."""
        for entry in self._open():
            if self._context.now_s() - entry.given_up_s < self._context.settings.provider.deadline:
                continue
            reason = "its outcome could not be learned"
            await self._end(entry, PredictionEvent.GIVEN_UP, reason)

    def _end_if_idle(self) -> None:
        """At the end of a run the search goes on for `reconcile.patience`."""
        waiting = self._open()
        if not waiting or not self._context.queue.waits_only_for(len(waiting)):
            self._idle_since = None
            return
        now = self._context.now_s()
        self._idle_since = now if self._idle_since is None else self._idle_since
        hurried = self._context.stop.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}
        if hurried or now - self._idle_since >= self._context.settings.reconcile.patience:
            for entry in waiting:
                if not entry.deciding.locked():
                    entry.resolve(_HELD)


def _found(prediction: int, at: Timestamp, provider_id: str, file: LaneFile) -> None:
    file.put(prediction, "running", at, provider_id=provider_id)


def is_same_input(sent: Input, told: Mapping[str, object] | None, card: ModelCard) -> bool:
    """Whether *told*, as the provider gives it back, is what was *sent*.

    A provider may fill in its defaults; anything else that was not sent makes it another's.
    """
    if told is None:
        return False
    if any(name not in told or not _equal(told[name], value) for name, value in sent.items()):
        return False
    for name in told.keys() - sent.keys():
        field_ = card.inputs.get(name)
        is_default = field_ is not None and _equal(told[name], field_.default)
        if told[name] is not None and not is_default and name != "seed":
            return False
    return True


def _equal(left: object, right: object) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right
