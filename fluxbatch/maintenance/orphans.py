"""Executions without a prediction in the ledger: other programs', or ours and unknown.

Owns the distinction: one whose input is that of a job of this dataset is an orphan, paid
and without a home; all others are only counted. Adopted, an orphan is one more prediction of
its job, its cost recorded and its outputs fetched. Source: docs/design/protocol.md 2.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from fluxbatch.domain.adoption import BY_INPUT
from fluxbatch.domain.job import (
    UPLOAD_PREFIX,
    Input,
    JobState,
    PredictionId,
    PredictionState,
    as_sent,
    derived_seed,
    given_seed,
)
from fluxbatch.domain.money import ZERO, Micros, as_usd
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine.session import RunSession
from fluxbatch.errors import ApiError, KeyRefused, NotFound
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.operations.maintenance import AdoptOrphan
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.audit import JobInput, contents_of, jobs_after, never_created
from fluxbatch.maintenance.reports import Orphan, ReconcileReport
from fluxbatch.maintenance.session import for_each
from fluxbatch.provider import Execution, Status
from fluxbatch.worker.inputs import is_same_input

_MARGIN = timedelta(seconds=10)
"""How much earlier than its intent a listing may date a creation: clocks round and differ."""
_NEEDS_IT_MOST = (JobState.PENDING, JobState.FAILED, JobState.ACTIVE)


class _Paid(NamedTuple):
    """An execution and what it was asked for."""

    row: Execution
    account: str
    input: Mapping[str, object]


class _Match(NamedTuple):
    """An execution with the job whose input it has."""

    paid: _Paid
    job: JobInput
    sent: Input


class Orphans:
    """The unborne executions of one audit."""

    def __init__(self, session: RunSession, report: ReconcileReport) -> None:
        self._session = session
        self._context = session.context
        self._report = report
        self._paid: list[_Paid] = []

    async def run(
        self, unborne: Mapping[PredictionId, tuple[Execution, str]], *, adopt: bool
    ) -> None:
        """Name the orphans, and take them in where that was asked for."""
        await for_each(
            (found for found in unborne.values() if _may_cost(found[0])), self._read_input
        )
        matches = await self._matches()
        self._report.strangers += len(unborne) - len(matches)
        for match in matches:
            adopted = adopt and await self._adopt(match)
            self._report.orphans.append(_orphan(match, was_adopted=adopted))
        if any(orphan.was_adopted for orphan in self._report.orphans):
            await self._say_if_over_a_cap()

    async def _say_if_over_a_cap(self) -> None:
        """What was spent already is recorded above a cap too."""
        context = self._context
        query = partial(read_lines, run_id=context.run.run_id, day=context.budget_day())
        for line in await self._session.context.read(query):
            if line.cap is not None and line.committed > line.cap:
                words = f"${as_usd(line.committed)} of ${as_usd(line.cap)}"
                context.notice_once(
                    f"with what was adopted the budget per {line.scope} is at {words}"
                )

    async def _read_input(self, found: tuple[Execution, str]) -> None:
        row, account = found
        client = next(
            client
            for name, client in self._context.clients.items()
            if self._context.accounts[name] == account
        )
        try:
            prediction = await client.get(row.prediction_id)
        except (NotFound, KeyRefused):
            return  # it is another organisation's, or none of our keys'
        except ApiError as exc:
            self._report.unread.append(f"an execution could not be read: {exc}")
            return
        if prediction.input is not None:
            self._paid.append(_Paid(row, account, prediction.input))

    async def _matches(self) -> list[_Match]:
        """Each execution that has the input of a job, with the job that needs it most."""
        if not self._paid:
            return []
        urls = {str(value) for paid in self._paid for name, value in paid.input.items()
                if name in self._context.card_of(paid.row.model).file_inputs}  # fmt: skip
        contents = await self._session.context.read(partial(contents_of, urls=urls))
        by_prompt: dict[tuple[str, str], list[_Paid]] = {}
        for paid in self._paid:
            by_prompt.setdefault(_mark(paid.row.model, paid.input), []).append(paid)
        fitting: dict[PredictionId, list[_Match]] = {}
        async for job in self._jobs():
            for paid in by_prompt.get(_mark(job.model, job.input), ()):
                sent = self._as_sent_to(paid, job, contents)
                if sent is not None:
                    fitting.setdefault(paid.row.prediction_id, []).append(_Match(paid, job, sent))
        return list(_shared_out(fitting))

    async def _jobs(self) -> AsyncIterator[JobInput]:
        for model in sorted({paid.row.model for paid in self._paid}):
            after = -1
            read = partial(jobs_after, model=model)
            while page := await self._session.context.read(partial(read, after=after)):
                for job in page:
                    yield job
                after = page[-1].seq

    def _as_sent_to(self, paid: _Paid, job: JobInput, contents: Mapping[str, str]) -> Input | None:
        """The job's input as it would have left for this execution; None where it differs."""
        card, control_url = self._context.card_of(job.model), None
        if job.control_sha256 is not None:
            urls = (str(paid.input.get(name)) for name in card.file_inputs)
            control_url = next((u for u in urls if contents.get(u) == job.control_sha256), None)
        for seed in self._seeds(job):
            sent = as_sent(job.input, card.file_inputs, control_url, seed)
            if is_same_input(sent, paid.input, card):
                return sent
        return None

    def _seeds(self, job: JobInput) -> Iterator[int | None]:
        """The inputs the job may have been created with, the latest first."""
        if "seed" in job.input:
            yield given_seed(job.input)
        elif (
            self._context.settings.inputs.seed == "derived"
            and self._context.card_of(job.model).takes_derived_seed
        ):
            for reseed in range(job.reseed, -1, -1):
                yield derived_seed(job.job_id, reseed)
        else:
            yield None

    async def _adopt(self, match: _Match) -> bool:
        """As a create of the job that got no id, else as one more prediction."""
        context, row = self._context, match.paid.row
        waiting = await self._session.context.read(partial(never_created, job_seq=match.job.seq))
        created = row.created_at or context.runtime.clock.now().utc
        fitting = [
            one.seq
            for one in waiting
            if one.intended - _MARGIN <= created and one.seed in {None, match.sent.get("seed")}
        ]
        if fitting:
            facts = Evidence(
                provider_id=row.prediction_id,
                adopted=BY_INPUT,
                reason="the provider's listing has it after all",
            )
            _, label = self._key_of(match.paid.account)
            moved = await context.move(
                fitting[-1], PredictionEvent.FOUND, facts, job=match.job.job_id, lane=label
            )
            return moved.state is PredictionState.RUNNING and not moved.passed
        return await context.ledger.apply(self._adoption(match, created)) is not None

    def _adoption(self, match: _Match, created: datetime) -> AdoptOrphan:
        context, row = self._context, match.paid.row
        fingerprint, label = self._key_of(match.paid.account)
        card = context.card_of(match.job.model)
        urls = [
            match.sent.get(name)
            for name in sorted(card.file_inputs)
            if str(match.job.input.get(name)).startswith(UPLOAD_PREFIX)
        ]
        return AdoptOrphan(
            at=context.runtime.clock.now(),
            job_seq=match.job.seq,
            provider_id=row.prediction_id,
            created=created,
            account=match.paid.account,
            key_fingerprint=fingerprint,
            key_label=label,
            run_seq=context.run.seq,
            run_id=context.run.run_id,
            price=card.price or row.cost or ZERO,
            caps=context.settings.budget.caps,
            budget_day=created.astimezone(context.settings.zone).date().isoformat(),
            seed=given_seed(match.sent),
            control_url=str(urls[0]) if match.job.control_sha256 and urls else None,
        )

    def _key_of(self, account: str) -> tuple[str, str]:
        return next(
            (key.fingerprint, key.label) for key in self._session.keys if key.account == account
        )


def _mark(model: str, given: Mapping[str, object]) -> tuple[str, str]:
    """What equal inputs have in common, whatever their model calls its inputs."""
    return model, str(given.get("prompt"))


def _may_cost(row: Execution) -> bool:
    """Not one that failed and was not billed: there is nothing of it to miss."""
    return row.cost != 0 or row.status in {Status.SUCCEEDED, Status.NOT_FINISHED}


def _shared_out(fitting: Mapping[PredictionId, list[_Match]]) -> Iterator[_Match]:
    """One job for each execution, the earliest first; jobs with equal inputs take turns."""
    taken: dict[int, int] = {}
    for matches in sorted(fitting.values(), key=lambda found: _created(found[0].paid.row)):
        best = min(matches, key=lambda match: (taken.get(match.job.seq, 0), _need(match.job)))
        taken[best.job.seq] = taken.get(best.job.seq, 0) + 1
        yield best


def _need(job: JobInput) -> int:
    """Less for a job that has nothing yet."""
    if job.state in _NEEDS_IT_MOST:
        return _NEEDS_IT_MOST.index(job.state)
    return len(_NEEDS_IT_MOST)


def _created(row: Execution) -> str:
    return row.created_at.isoformat() if row.created_at is not None else ""


def _orphan(match: _Match, *, was_adopted: bool) -> Orphan:
    row = match.paid.row
    return Orphan(
        row.prediction_id,
        match.job.job_id.hex(),
        Micros(row.cost or 0),
        _created(row),
        was_adopted,
    )
