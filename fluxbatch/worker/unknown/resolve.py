"""The resolution of creates without an answer: found in the listing, absent, or unknown.

Owns the search for them while a run goes on. Nothing here ever creates: a job comes
back to the queue only when two late enough, complete listings show nothing that could be its
create and is alive or succeeded. Others' predictions are told apart by their input, else by
their time; what cannot be told stays unknown, its money reserved. Source:
docs/design/protocol.md 3.4 to 3.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import anyio

from fluxbatch.domain.adoption import BY_INPUT, BY_TIME, PRESUMED
from fluxbatch.domain.job import FailureClass, JobState, PredictionId, PredictionState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ApiError, ExitCode
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.operations.transitions import Evidence, TransitionResult
from fluxbatch.provider import Execution, ProviderClient, Status
from fluxbatch.scheduler.lane_state_file import LaneFile
from fluxbatch.scheduler.window_recovery import age_s
from fluxbatch.worker.context import TrackedPrediction, WorkerContext
from fluxbatch.worker.inputs import is_same_input
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.unknown.create import Entry, LostElsewhere, Outlook, UnknownCreate
from fluxbatch.worker.unknown.evidence import AcceptanceSpan, Finding, findings
from fluxbatch.worker.unknown.listing import ListingReader, Seen, candidate_of, candidates_of
from fluxbatch.worker.unknown.spans import (
    Tried,
    earliest_of,
    kept_span,
    of_live,
    of_sending,
    span_of,
)
from fluxbatch.worker.webhook_inbox import BY_WEBHOOK

_SOON_S = 1.0
_LISTED = "found in the provider's listing"
_BY_ITS_TIME = "the only execution that was made while it was asked for"
_ABSENT = "two complete listings, late enough, do not have it"
_ALL_FAILED = "whatever could be it has failed"
ALL_ENDED = "whatever could be it has ended, and which one it is cannot be told"
"""Why an unknown create holds its slot no longer, though it is not known what became of it."""
_TOO_LONG = "its outcome could not be learned"

_HELD = TransitionResult(PredictionState.UNKNOWN, JobState.ACTIVE)


class UnknownResolver:
    """The unknown creates of one run."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._search = ListingReader(context)
        self._entries: list[Entry] = []
        self._parted: list[Tried] = []
        """Given up in this run: what is listed may still be theirs."""
        self._elsewhere: list[LostElsewhere] = []
        self._wake = anyio.Event()
        self._idle_since: float | None = None
        self.suspects: dict[int, tuple[Execution, ...]] = {}
        """By the prediction's number: what a create that stays unknown may be."""
        self.not_ours: set[PredictionId] = set()
        """The user says so."""

    async def resolve(
        self, unanswered: UnknownCreate
    ) -> tuple[TransitionResult, TrackedPrediction | None]:
        """Wait until the create is found (then it runs), absent, or given up for this run."""
        entry = Entry(unanswered, self._context.now_s())
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
        moved, tracked = entry.outcome
        if moved.state is PredictionState.UNKNOWN:
            self._parted.append(unanswered.tried)
        return moved, tracked

    def unanswered(self, account: str) -> list[UnknownCreate]:
        """What holds slots of the account without an answer."""
        return [e.unanswered for e in self._open() if e.unanswered.account == account]

    async def freed(self, lost: LostElsewhere) -> None:
        """Wait until nothing holds another dataset's slot any more."""
        self._elsewhere.append(lost)
        self._wake.set()
        try:
            await lost.freed.wait()
        finally:
            self._elsewhere.remove(lost)

    async def run(self) -> None:
        """Look for unknown creates as long as there are any, until cancelled."""
        await self._begin()
        while True:
            waiting = self._open() or self._elsewhere
            with anyio.move_on_after(self._spacing_s if waiting else None):
                await self._wake.wait()
                self._wake = anyio.Event()
                # Most lost creates are listed at once; others may be lost with it.
                await anyio.sleep(min(_SOON_S, self._spacing_s / 2))
            await self._look()
            await self._give_up_what_is_late()
            self._end_if_idle()

    async def _begin(self) -> None:
        """Say at the start where nothing that is lost could be looked for."""
        for lane in self._context.lanes.all[:1]:
            with suppress(ApiError):  # whoever looks for something is told of it
                await self._learn_date(self._clients(lane.account, ())[0], lane.account)

    @property
    def _spacing_s(self) -> float:
        """10 s where `reconcile.lag` is 30 s; tests scale both."""
        return max(self._context.settings.reconcile.lag / 3, 0.05)

    def _open(self) -> list[Entry]:
        return [entry for entry in self._entries if not entry.done.is_set()]

    async def _look(self) -> None:
        """A listing for each account, and what they say of each unknown create."""
        seen = dict[str, Seen]()
        lost = [one.account for one in self._elsewhere]
        for account in sorted({*lost, *(one.unanswered.account for one in self._open())}):
            listing = await self._listing(account)
            if listing is not None:
                seen[account] = listing
        entries = [one for one in self._open() if one.unanswered.account in seen]
        # Of those that came meanwhile no listing was asked for.
        entries = [e for e in entries if e.since_s <= seen[e.unanswered.account].asked_s]
        await self._match_inputs(entries, seen)
        await self._judge_times(entries, seen)

    async def _listing(self, account: str) -> Seen | None:
        """With the input of each row that could be one of ours."""
        entries = [one for one in self._open() if one.unanswered.account == account]
        clients = self._clients(account, entries)
        try:
            if clients:
                await self._learn_date(clients[0], account)
        except ApiError as exc:
            self._context.notice_once(f"unknown creates cannot be looked for now: {exc}")
            return None
        intended = [entry.unanswered.intended for entry in entries]
        intended += [one.kept.at for one in self._elsewhere if one.account == account]
        since = min((earliest_of(self._context, account, at) for at in intended), default=None)
        if since is None:
            return None  # a webhook was quicker
        seen = await self._search.listing(account, clients, since)
        if seen is None or not entries:
            return seen
        models = {entry.unanswered.job.model for entry in entries}
        try:
            await self._search.read_inputs([r for r in seen.rows if r.model in models], clients[0])
        except ApiError as exc:
            self._context.notice_once(f"unknown creates cannot be looked for now: {exc}")
            return None
        return seen

    async def _learn_date(self, client: ProviderClient, account: str) -> None:
        """The provider's clock, before anything is looked for by it, in each boot of ours anew."""
        if not self._context.knows_date(account):
            await self._search.is_there(client, account)

    def _clients(self, account: str, entries: Sequence[Entry]) -> list[ProviderClient]:
        """Keys that see the account's history: its own first."""
        own = [entry.unanswered.key_fingerprint for entry in entries]
        names = [*own, *(n for n, a in self._context.accounts.items() if a == account)]
        return [
            self._context.clients[n] for n in dict.fromkeys(names) if n in self._context.clients
        ]

    async def _listen(self, entry: Entry) -> None:
        """Its own webhook proves it ours, and may do so before any listing has it."""
        named = await self._context.webhooks.mailbox(entry.unanswered.prediction_seq).named()
        await self._adopt(entry, named, BY_WEBHOOK, "its webhook came")

    async def _match_inputs(self, entries: Iterable[Entry], seen: Mapping[str, Seen]) -> None:
        """Adopt what has an equal input; nearest in time first, each at most once."""
        claim = set[PredictionId]()
        for entry in entries:
            if entry.done.is_set():
                continue
            rows = seen[entry.unanswered.account].rows
            row = self._nearest(entry.unanswered, [r for r in rows if r.prediction_id not in claim])
            if row is not None:
                claim.add(row.prediction_id)
                await self._adopt(entry, row.prediction_id, BY_INPUT, _LISTED)

    def _nearest(self, wanted: UnknownCreate, free: Sequence[Execution]) -> Execution | None:
        card = self._context.card_of(wanted.job.model)
        intended = self._context.by_provider(wanted.account, wanted.intended)
        earliest = earliest_of(self._context, wanted.account, wanted.intended)

        def distance(row: Execution) -> timedelta:
            return abs((row.created_at or intended) - intended)

        fitting = [
            row
            for row in free
            if (row.created_at is None or row.created_at >= earliest)
            and row.model == wanted.job.model
            and is_same_input(wanted.sent, self._search.input_of(row), card)
        ]
        return min(fitting, key=distance, default=None)

    async def _judge_times(self, entries: Sequence[Entry], seen: Mapping[str, Seen]) -> None:
        """What nobody's input decides: found by its time, absent, failed or not to be told."""
        rows = {
            row.prediction_id: row
            for one in seen.values()
            for row in one.rows
            if self._search.input_of(row) is None and row.prediction_id not in self.not_ours
        }
        spans = await self._spans(seen)
        await self._search.learn_owners(rows.values(), spans, self._spacing_s / 2)
        found = findings(spans, candidates_of(rows, seen, self._search.foreign_to))
        for entry in entries:
            finding = found.get(entry.unanswered.prediction_seq, Finding())
            match = rows[finding.match.provider_id] if finding.match is not None else None
            if match is not None and self._may_adopt(match, is_near=finding.is_near):
                await self._adopt(entry, match.prediction_id, BY_TIME, _BY_ITS_TIME)
            else:
                possible = [rows[one.provider_id] for one in finding.possible]
                await self._weigh(entry, possible, seen[entry.unanswered.account])
        for lost in self._elsewhere:
            if lost.account in seen:
                self._weigh_elsewhere(lost, seen[lost.account])

    def _may_adopt(self, match: Execution, *, is_near: bool) -> bool:
        """By its time alone. How a late one failed says nothing of the job: it may be another's."""
        has_failed = match.status in {Status.FAILED, Status.CANCELLED}
        is_sole = self._context.settings.reconcile.sole_user
        return is_sole and self._search.is_readable(match) and (is_near or not has_failed)

    async def _spans(self, seen: Mapping[str, Seen]) -> list[AcceptanceSpan]:
        """Everything that a row may be: what is unknown, on its way, or another dataset's."""
        tried = {e.unanswered.prediction_seq: e.unanswered.tried for e in self._open()}
        tried |= {one.create: one for one in self._parted}
        for one in seen.values():
            for number, sending in one.sending.items():
                tried.setdefault(number, of_sending(number, sending))
            for other in one.others:
                tried.setdefault(other.seq, of_live(other))
        now = self._context.runtime.clock.now()
        spans = [span_of(self._context, one, now) for one in tried.values()]
        account = next(iter(seen), "")
        lost = [one for one in await self._search.elsewhere() if one.is_unanswered]
        return spans + [span_of(self._context, kept_span(account, one), now) for one in lost]

    async def _weigh(self, entry: Entry, possible: Sequence[Execution], seen: Seen) -> None:
        """What a listing says of everything that could be it; the second one decides."""
        self.suspects[entry.unanswered.prediction_seq] = tuple(possible)
        if seen.began is None:
            self._context.notice_once(
                "the provider's listing tells no time, so it proves no absence"
            )
            return
        if not seen.is_complete or not self._is_late(entry, seen.began, seen):
            return
        outlook = _outlook(possible)
        if outlook != entry.outlook:
            entry.outlook, entry.outlook_s = outlook, seen.asked_s
        if outlook == "alive" or seen.asked_s - entry.outlook_s < self._spacing_s:
            return
        if outlook == "absent":
            await self._end(entry, PredictionEvent.ABSENT, _ABSENT)
        elif outlook == "failed":
            billed = [row for row in possible if row.cost != 0]
            await self._fail(entry, (billed or possible)[0])  # the nearest in time come first
        else:
            await self._end(entry, PredictionEvent.GIVEN_UP, ALL_ENDED)

    def _weigh_elsewhere(self, lost: LostElsewhere, seen: Seen) -> None:
        """Another dataset's slot is free once nothing unfinished could be what it made."""
        now, late_s = self._context.runtime.clock.now(), self._context.late_s
        if not seen.is_complete or age_s(lost.kept.at, now) < late_s:
            return
        span = span_of(self._context, lost.tried, now)
        unfinished = [row for row in seen.rows if row.status is Status.NOT_FINISHED]
        if not any(span.includes(candidate_of(row)) for row in unfinished):
            lost.freed.set()

    async def _adopt(self, entry: Entry, name: PredictionId, adopted: str, reason: str) -> None:
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
                one.key_label, one.intended.utc, is_presumed=adopted in PRESUMED,
                kind=kind_of(one.job.input), outputs_wanted=one.job.outputs_wanted,
            )  # fmt: skip
            entry.resolve(moved, tracked)

    async def _fail(self, entry: Entry, row: Execution) -> None:
        """Nothing is alive and nothing succeeded; what it cost is booked, once."""
        async with entry.deciding:
            if entry.done.is_set():
                return
            name = Evidence(provider_id=row.prediction_id, adopted=BY_TIME, reason=_ALL_FAILED)
            found = await self._move(entry, PredictionEvent.FOUND, name)
            if found.state is not PredictionState.RUNNING:
                return  # it is another create's by now
            # By whichever reason it failed, that is not known to be this job's.
            evidence = Evidence(cost=row.cost, failure=FailureClass.NETWORK, reason=_ALL_FAILED)
            entry.resolve(await self._move(entry, PredictionEvent.FAILED, evidence))

    async def _end(self, entry: Entry, event: PredictionEvent, reason: str) -> None:
        """Absent or given up, unless it has been found meanwhile."""
        async with entry.deciding:
            if not entry.done.is_set():
                entry.resolve(await self._move(entry, event, Evidence(reason=reason)))

    async def _move(
        self, entry: Entry, event: PredictionEvent, evidence: Evidence
    ) -> TransitionResult:
        one = entry.unanswered
        return await self._context.move(
            one.prediction_seq, event, evidence, job=one.job.job_id, lane=one.key_label
        )

    def _is_late(self, entry: Entry, began: datetime, seen: Seen) -> bool:
        """Whether nothing of it can have been on its way any more when a listing began.

        By our boot clock and by the provider's: an answer may come out of a gateway's cache. What
        an earlier boot intended is at least as old as the search for it.
        """
        one, late_s = entry.unanswered, self._context.late_s
        asked, searched_s = seen.asked, seen.asked_s - entry.since_s
        if max(age_s(one.intended, asked), searched_s) < late_s:
            return False
        late = self._context.by_provider(one.account, one.intended) + timedelta(seconds=late_s)
        return began >= late or one.intended.boot_id != asked.boot_id

    async def _give_up_what_is_late(self) -> None:
        """After `provider.deadline` an unknown create holds no slot any more; its money it does.

        One that is older than that already gets its chance to be found all the same.
        """
        now = self._context.runtime.clock.now()
        chance_s = self._context.late_s + 2 * self._spacing_s
        for entry in self._open():
            one, searched_s = entry.unanswered, self._context.now_s() - entry.since_s
            is_old = (
                age_s(one.given_up or one.intended, now) >= self._context.settings.provider.deadline
            )
            if is_old and (searched_s >= chance_s or self._context.has_listing is False):
                await self._end(entry, PredictionEvent.GIVEN_UP, _TOO_LONG)

    def _end_if_idle(self) -> None:
        """At the end of a run the search goes on for `reconcile.patience`."""
        waiting, context = self._open(), self._context
        if not waiting or not context.queue.waits_only_for(len(waiting)):
            self._idle_since = None
            return
        now = context.now_s()
        self._idle_since = now if self._idle_since is None else self._idle_since
        hurried = context.stop.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}
        hopeless = context.has_listing is False and not context.webhooks.are_open
        if hurried or hopeless or now - self._idle_since >= context.settings.reconcile.patience:
            for entry in waiting:
                if not entry.deciding.locked():
                    entry.resolve(_HELD)


def _outlook(possible: Sequence[Execution]) -> Outlook:
    """What everything that could be it comes down to."""
    states = {row.status for row in possible}
    if not states:
        return "absent"
    if Status.NOT_FINISHED in states:
        return "alive"
    return "ended" if Status.SUCCEEDED in states else "failed"


def _found(prediction: int, at: Timestamp, provider_id: str, file: LaneFile) -> None:
    file.put(prediction, "running", at, provider_id=provider_id)
