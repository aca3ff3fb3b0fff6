"""The provider's listing, as far as creates without an answer are looked for in it.

Owns what is read for that: one account's listing, the input of every execution that nobody
on this host is known to have made, and the clock that our own creates tell in passing.
Judges nothing. Source: docs/design/protocol.md 3.4 to 3.6.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import anyio

from fluxbatch.domain.job import PredictionId, PredictionState
from fluxbatch.errors import ApiError, NotFound
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.queries.recovery import (
    KnownCreate,
    LivePrediction,
    known_creates,
    live_predictions,
)
from fluxbatch.provider import Execution, Listing, ProviderClient, Status
from fluxbatch.scheduler.lane_state_file import KeptCreate
from fluxbatch.worker.context import Sending, WorkerContext
from fluxbatch.worker.unknown.evidence import AcceptanceSpan, Candidate
from fluxbatch.worker.unknown.provider_clock import ClockEstimate, Sighting

_UNANSWERED = frozenset({PredictionState.SUBMITTING, PredictionState.UNKNOWN})
_TOLD = 2
"""So many times told that there is no such prediction, a key's account has not made it."""
MARGIN_S = 10.0
"""How far a listing's dates may be off where no create of ours tells better."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One account's listing, without what some ledger on this host is known to bear."""

    rows: tuple[Execution, ...]
    began: datetime | None
    """By the provider's clock."""
    is_complete: bool
    asked: Timestamp
    asked_s: float
    """The same, monotonic."""
    sending: Mapping[int, Sending]
    """Creates that were on their way when the ledger was asked: a row may be theirs."""
    others: tuple[LivePrediction, ...]
    """What other processes of a shared run had no answer to then: a row may be theirs as well."""


class ListingReader:
    """Reads for the unknown creates of one run."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._inputs: dict[PredictionId, Mapping[str, object]] = {}
        """What listed predictions that are not ours were asked for; read once each."""
        self._told_none: set[tuple[PredictionId, Status]] = set()
        """Read at this status, and it gave no input."""
        self._readers: dict[PredictionId, set[str]] = {}
        """Accounts whose keys could read it."""
        self._refusals: dict[tuple[PredictionId, str], int] = {}
        """How often an account's key was told that there is no such prediction."""
        self._are_keys_apart = True
        """No prediction was readable by the keys of two accounts so far."""

    async def listing(
        self, account: str, clients: Iterable[ProviderClient], since: datetime
    ) -> Seen | None:
        """What an account's history has since then; None where no key could read it."""
        for client in clients:
            try:
                return await self._listing(client, account, since)
            except NotFound:
                self._no_listing()
            except ApiError as exc:
                self._context.notice_once(f"unknown creates cannot be looked for now: {exc}")
        return None

    async def is_there(self, client: ProviderClient, account: str) -> None:
        """Whether there is a listing at all, and what its clock says."""
        asked = self._context.runtime.clock.now()
        try:
            listing = await client.listing(since=asked.utc, until=asked.utc)
        except NotFound:
            self._no_listing()
        else:
            self._context.has_listing = True
            self._context.saw_date(account, listing.began, asked)

    def _no_listing(self) -> None:
        self._context.has_listing = False
        has_hooks = self._context.settings.webhook.public_url is not None
        hint = "" if has_hooks else "; webhooks would tell of it (webhook.public_url)"
        self._context.notice_once(
            "the provider has no listing (GET /executions): a create that loses its answer cannot"
            f" be looked for, so it stays unknown and its money reserved{hint}"
        )

    async def _listing(self, client: ProviderClient, account: str, since: datetime) -> Seen:
        context = self._context
        asked, asked_s = context.runtime.clock.now(), context.now_s()
        # The date behind that may have been as old as an answer can be when it came.
        margin = timedelta(seconds=MARGIN_S + context.settings.provider.timeout)
        until = context.by_provider(account, asked) + margin
        listing = await client.listing(since=since, until=until)
        context.reached()
        context.has_listing = True
        sending, others = dict(context.sending), await self._others()
        unborne = await self._unborne(listing)
        # Where our clock was set meanwhile, what was made since then may not be in it.
        reaches_now = listing.began is None or listing.began <= until
        is_complete = listing.is_complete and reaches_now
        return Seen(unborne, listing.began, is_complete, asked, asked_s, sending, others)

    async def _others(self) -> tuple[LivePrediction, ...]:
        """Asked after the listing and before what is known: each listed create of another process
        is either among these, or known by its id by then."""
        if not self._context.is_shared:
            return ()
        live = await self._context.read(live_predictions)
        return tuple(one for one in live if one.state in _UNANSWERED)

    async def _unborne(self, listing: Listing) -> tuple[Execution, ...]:
        """The rows that are in no ledger; the others tell the provider's clock."""
        ids = [row.prediction_id for row in listing.rows]
        known = await self._context.read(partial(known_creates, ids=ids))
        self._learn_clocks(listing.rows, known)
        others = {one.provider_id for one in await self.elsewhere()}
        return tuple(
            row
            for row in listing.rows
            if row.prediction_id not in known and row.prediction_id not in others
        )

    async def elsewhere(self) -> list[KeptCreate]:
        """What other datasets on this host have made, or may have."""
        return await self._context.runtime.to_thread(self._context.kept_elsewhere)

    def _learn_clocks(self, rows: Collection[Execution], known: Mapping[str, KnownCreate]) -> None:
        seen: dict[str, list[Sighting]] = {}
        for row in rows:
            create = known.get(row.prediction_id)
            if create is None or row.created_at is None:
                continue
            if create.left_s is not None and create.answered_s is not None:
                sighting = Sighting(
                    row.prediction_id, create.left_s, create.answered_s, row.created_at
                )
                seen.setdefault(create.boot_id, []).append(sighting)
        for boot_id, sightings in seen.items():
            self._context.clocks.setdefault(boot_id, ClockEstimate()).saw(sightings)

    def input_of(self, row: Execution) -> Mapping[str, object] | None:
        """What it was asked for, where `read_inputs` could learn it."""
        return self._inputs.get(row.prediction_id)

    def is_readable(self, row: Execution) -> bool:
        """Whether some key of ours could read it at all."""
        return any((row.prediction_id, status) in self._told_none for status in Status)

    async def read_inputs(self, rows: Iterable[Execution], client: ProviderClient) -> None:
        """Ask for each what it was asked for; raise `ApiError` where that cannot be asked now."""
        for row in rows:
            told_none = (row.prediction_id, row.status) in self._told_none
            if row.prediction_id not in self._inputs and not told_none:
                await self._read_input(client, row)

    def foreign_to(self, row: Execution) -> frozenset[str]:
        """Accounts whose it cannot be: their keys were told twice that there is no such
        prediction, while another account's key could read it.

        Where keys of two accounts read one prediction, being told so means nothing.
        """
        name = row.prediction_id
        readers = self._readers.get(name)
        if not self._are_keys_apart or not readers:
            return frozenset()
        told = {a for (one, a), times in self._refusals.items() if one == name and times >= _TOLD}
        return frozenset(told - readers)

    async def learn_owners(
        self, rows: Iterable[Execution], spans: Sequence[AcceptanceSpan], apart_s: float
    ) -> None:
        """Whose each row is that creates of several accounts may explain: asked twice for with a
        key of each, *apart_s* apart."""
        context = self._context
        clients = {context.accounts[name]: client for name, client in context.clients.items()}
        pairs = list[tuple[PredictionId, str]]()
        for row in rows:
            one = candidate_of(row)
            may = {span.account for span in spans if span.includes(one)} & clients.keys()
            if len(may) > 1:
                pairs += [(row.prediction_id, account) for account in sorted(may)]
        for times in range(_TOLD):
            asked = [pair for pair in pairs if self._is_unsure(*pair)]
            if times and asked:
                await anyio.sleep(apart_s)
            for name, account in asked:
                try:
                    await self._ask_as(clients[account], name, account)
                except ApiError as exc:
                    context.notice_once(f"unknown creates cannot be looked for now: {exc}")
                    return

    async def _ask_as(self, client: ProviderClient, name: PredictionId, account: str) -> None:
        try:
            await client.get(name)
        except NotFound:
            self._was_refused(name, account)
        else:
            self._was_read(name, account)

    def _is_unsure(self, name: PredictionId, account: str) -> bool:
        if not self._are_keys_apart or account in self._readers.get(name, ()):
            return False
        return self._refusals.get((name, account), 0) < _TOLD

    def _was_read(self, name: PredictionId, account: str) -> None:
        readers = self._readers.setdefault(name, set())
        readers.add(account)
        if len(readers) > 1:
            self._are_keys_apart = False

    def _was_refused(self, name: PredictionId, account: str) -> None:
        self._refusals[name, account] = self._refusals.get((name, account), 0) + 1

    async def _read_input(self, client: ProviderClient, row: Execution) -> None:
        """It may be of another account, whose predictions this key cannot read."""
        clients = self._context.clients
        others = ((name, one) for name, one in clients.items() if one is not client)
        first = ((name, one) for name, one in clients.items() if one is client)
        for fingerprint, reader in (*first, *others):
            account = self._context.accounts[fingerprint]
            try:
                prediction = await reader.get(row.prediction_id)
            except NotFound:
                self._was_refused(row.prediction_id, account)
                continue
            self._was_read(row.prediction_id, account)
            self._context.saw_poll(prediction)
            if prediction.input is not None:
                self._inputs[row.prediction_id] = prediction.input
            else:
                self._told_none.add((row.prediction_id, row.status))
            return


def candidates_of(
    rows: Mapping[PredictionId, Execution],
    seen: Mapping[str, Seen],
    foreign_to: Callable[[Execution], frozenset[str]],
) -> list[Candidate]:
    listed = {account: {r.prediction_id for r in one.rows} for account, one in seen.items()}
    return [
        candidate_of(
            row,
            foreign_to(row) | frozenset(a for a, names in listed.items() if name not in names),
        )
        for name, row in rows.items()
    ]


def candidate_of(row: Execution, not_listed_to: frozenset[str] = frozenset()) -> Candidate:
    return Candidate(row.prediction_id, row.model, row.created_at, not_listed_to)
