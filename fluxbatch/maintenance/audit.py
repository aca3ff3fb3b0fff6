"""The comparison of the ledger with the provider's listing: costs settled, differences noted.

Owns the reading of the whole listing, account by account and part by part, and what each row
means for a prediction we know. An execution without a prediction is left to `orphans`.
Source: docs/design/protocol.md 5; docs/design/decisions.md "Reconcile".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from fluxbatch.domain.job import PredictionId, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine.session import RunSession
from fluxbatch.errors import ApiError, KeyRefused, NotFound
from fluxbatch.infra.concurrency import for_each
from fluxbatch.ledger.operations.maintenance import RecordRead
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.audit import KnownPrediction, Span, buying_span, known_predictions
from fluxbatch.maintenance.reports import ReconcileReport
from fluxbatch.maintenance.session import each_prediction, tracked
from fluxbatch.provider import Execution, Listing, Prediction, Status
from fluxbatch.worker.await_result import NoKeyWorks, read_prediction

_CREATES_A_PART = 5_000
_LONGEST_PART = timedelta(days=1)
_MARGIN = timedelta(minutes=10)
"""For clocks that differ."""
_MOST_VERIFIED = 1_000
"""Predictions the listing lacks that are asked for one by one; the provider forgets old ones."""

_P = PredictionState
_FAILED = (_P.ERRORED, _P.CANCELLED, _P.TIMED_OUT, _P.LOST)
_MAY_LIVE = (_P.TIMED_OUT, _P.LOST)
_BILLED = (_P.SUCCEEDED, *_FAILED)


class Audit:
    """One audit of one dataset."""

    def __init__(self, session: RunSession, report: ReconcileReport) -> None:
        self._session = session
        self._context = session.context
        self._report = report
        self._seen = bytearray()
        """By the prediction's number: whether a listing had it."""
        self.unborne: dict[PredictionId, tuple[Execution, str]] = {}
        """What no prediction of the ledger bears, with the account whose listing had it."""
        self._others: set[PredictionId] = set()
        """Of other models; two accounts of one organisation list the same."""
        self._suspects: dict[int, KnownPrediction] = {}
        """Failed for us, and a success in the listing."""
        self._whole: set[str] = set()
        """Accounts whose listing was read to its end."""

    async def run(self) -> None:
        """Read every account's listing, settle what it shows, and look into what differs."""
        span = await self._session.context.read(partial(buying_span, every=_CREATES_A_PART))
        if span is None:
            return
        self._seen = bytearray(span.highest_seq + 1)
        for account in dict.fromkeys(self._context.accounts.values()):
            await self._read_account(account, span)
        self._report.strangers += len(self._others)
        await self._read_again()
        await self._look_for_missing()

    async def _read_account(self, account: str, span: Span) -> None:
        """By the account's first key that may read its listing."""
        refusal: ApiError | None = None
        for name, owner in self._context.accounts.items():
            if owner != account:
                continue
            try:
                for since, until in _parts(span, self._context.runtime.clock.now().utc):
                    listing = await self._context.clients[name].listing(since=since, until=until)
                    await self._take(listing, account)
            except ApiError as exc:
                refusal = exc
            else:
                self._whole.add(account)
                return
        self._report.unread.append(f"the provider's listing could not be read: {refusal}")
        self._report.no_key |= isinstance(refusal, KeyRefused)

    async def _take(self, listing: Listing, account: str) -> None:
        rows = {row.prediction_id: row for row in listing.rows}
        known = await self._session.context.read(partial(known_predictions, ids=rows.keys()))
        for one in known.values():
            self._seen[one.seq] = 1
            if one.state in _FAILED and rows[one.provider_id].status is Status.SUCCEEDED:
                self._suspects[one.seq] = one
        for name, row in rows.items():
            if name in known:
                continue
            if row.model in self._context.models:
                self.unborne.setdefault(name, (row, account))
            else:
                self._others.add(name)
        await for_each(
            [(one, rows[one.provider_id]) for one in known.values()], self._settle_row, at_once=64
        )

    async def _settle_row(self, pair: tuple[KnownPrediction, Execution]) -> None:
        one, row = pair
        if row.status is not Status.NOT_FINISHED and row.cost is not None:
            await self._settle(one, row.cost, "execution_cost in the provider's listing")

    async def _settle(self, one: KnownPrediction, cost: Micros, words: str) -> None:
        """Book what the provider says it cost, where that is news."""
        if one.state not in _BILLED or (one.cost == cost and not one.is_estimated):
            return
        await self._context.move(
            one.seq,
            PredictionEvent.COST_LEARNED,
            Evidence(cost=cost, reason=words),
            job=one.job_id,
            lane=one.key_label,
        )
        report, change = self._report, cost - (one.cost or 0)
        report.settled += 1
        report.settled_up = Micros(report.settled_up + max(change, 0))
        report.settled_down = Micros(report.settled_down + max(-change, 0))

    async def _read_again(self) -> None:
        """Ask about what timed out or was lost, and about what succeeded after all."""
        again = dict(self._suspects)
        async for one in each_prediction(self._session):
            if one.state in _MAY_LIVE and not one.was_read_again:
                again[one.seq] = one
        await for_each(again.values(), self._read_one_again)

    async def _read_one_again(self, one: KnownPrediction) -> None:
        try:
            prediction = await read_prediction(self._context, tracked(one))
        except NotFound:
            if not self._seen[one.seq] and one.account in self._whole:
                await self._not_alive(one, "neither the provider nor its listing has it")
        except NoKeyWorks:
            self._unaudited(one)
        except ApiError as exc:
            self._report.unread.append(f"a prediction could not be read again: {exc}")
        else:
            await self._told(one, prediction)

    async def _told(self, one: KnownPrediction, prediction: Prediction) -> None:
        if prediction.status is Status.NOT_FINISHED:
            self._report.still_alive += 1
        elif prediction.status is Status.SUCCEEDED and prediction.urls:
            await self._recovered(one, prediction)
        else:
            if prediction.cost is not None and one.is_estimated and not self._seen[one.seq]:
                await self._settle(one, prediction.cost, "read again")
            await self._not_alive(one, f"the provider says {prediction.word!r}")

    async def _recovered(self, one: KnownPrediction, prediction: Prediction) -> None:
        """A success found later. Source: docs/design/protocol.md 2.1."""
        facts = Evidence(
            urls=prediction.urls,
            cost=prediction.cost,
            reason="read again: it succeeded",
            run_time_s=prediction.run_time_s,
        )
        await self._context.move(
            one.seq, PredictionEvent.SUCCEEDED, facts, job=one.job_id, lane=one.key_label
        )
        self._report.recovered += 1

    async def _not_alive(self, one: KnownPrediction, words: str) -> None:
        if one.state in _MAY_LIVE:
            await self._context.ledger.apply(
                RecordRead(self._context.runtime.clock.now(), one.seq, words)
            )
            self._report.not_alive += 1

    async def _look_for_missing(self) -> None:
        """What we recorded and no listing has is read by its id before it is called missing."""
        unlisted = [
            one
            async for one in each_prediction(self._session)
            # What is lost was missed before; its money stays an estimate.
            if one.state in _BILLED
            and one.cost
            and one.state is not _P.LOST
            and not self._seen[one.seq]
        ]
        await for_each(unlisted[:_MOST_VERIFIED], self._verify)
        for one in unlisted[_MOST_VERIFIED:]:
            self._missing(one)

    async def _verify(self, one: KnownPrediction) -> None:
        try:
            prediction = await read_prediction(self._context, tracked(one))
        except NotFound:
            if one.account in self._whole:
                self._missing(one)
            else:
                self._report.unaudited += 1
        except NoKeyWorks:
            self._unaudited(one)
        except ApiError as exc:
            self._report.unread.append(f"a prediction could not be read: {exc}")
        else:
            if prediction.cost is not None:
                await self._settle(one, prediction.cost, "metrics.cost, read again")

    def _missing(self, one: KnownPrediction) -> None:
        self._report.missing.append(one.provider_id)
        self._report.missing_cost = Micros(self._report.missing_cost + (one.cost or 0))

    def _unaudited(self, one: KnownPrediction) -> None:
        self._report.unaudited += 1
        self._report.no_key = True
        words = f"no key may ask about predictions of key {one.key_label!r}"
        if words not in self._report.unread:
            self._report.unread.append(words)


def _parts(span: Span, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """From the first intent to now, in parts that a listing can hold.

    To now and not to the last intent: a ledger from a backup does not know the creates since.
    """
    began = span.began - _MARGIN
    for until in (*span.cuts, now + _MARGIN):
        while until - began > _LONGEST_PART:
            yield began, began + _LONGEST_PART
            began += _LONGEST_PART
        if until > began:
            yield began, until
            began = until
