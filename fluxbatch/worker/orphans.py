"""Executions without a prediction in the ledger, and the jobs whose input they have.

Owns the search and the adoption: an orphan that is taken in is one more prediction of its job, its
cost recorded and its outputs fetched. Source: docs/design/protocol.md 2.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from fluxbatch.config.api_keys import ApiKey
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
from fluxbatch.domain.money import ZERO
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ApiError, KeyRefused, NotFound
from fluxbatch.infra.concurrency import for_each
from fluxbatch.ledger.operations.maintenance import AdoptOrphan
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.audit import JobInput, contents_of, jobs_after, never_created
from fluxbatch.provider import Execution, Status
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.inputs import is_same_input

_MARGIN = timedelta(seconds=10)
"""How much earlier than its intent a listing may date a creation: clocks round and differ."""
_NEEDS_IT_MOST = (JobState.PENDING, JobState.FAILED, JobState.ACTIVE)


class _Paid(NamedTuple):
    """An execution and what it was asked for."""

    row: Execution
    account: str
    input: Mapping[str, object]


class OrphanMatch(NamedTuple):
    """An execution with the job whose input it has."""

    paid: _Paid
    job: JobInput
    sent: Input


class OrphanSearch:
    """The orphans among executions that no ledger bears."""

    def __init__(self, context: WorkerContext, keys: Sequence[ApiKey]) -> None:
        self._context = context
        self._keys = keys
        self._paid: list[_Paid] = []
        self.unread: list[str] = []
        """Why some could not be read."""
        self.told_none = 0
        """How many were read, and gave no input."""

    async def find(
        self, unborne: Mapping[PredictionId, tuple[Execution, str]]
    ) -> list[OrphanMatch]:
        """Each that has the input of a job, with the job that needs it most; *unborne* with the
        account in whose listing each is."""
        self._paid = []
        await for_each(
            (found for found in unborne.values() if _may_cost(found[0])), self._read_input
        )
        return await self._matches()

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
            self.unread.append(f"an execution could not be read: {exc}")
            return
        if prediction.input is not None:
            self._paid.append(_Paid(row, account, prediction.input))
        else:
            self.told_none += 1

    async def _matches(self) -> list[OrphanMatch]:
        """Each execution that has the input of a job, with the job that needs it most."""
        if not self._paid:
            return []
        urls = {str(value) for paid in self._paid for name, value in paid.input.items()
                if name in self._context.card_of(paid.row.model).file_inputs}  # fmt: skip
        contents = await self._context.read(partial(contents_of, urls=urls))
        by_prompt: dict[tuple[str, str], list[_Paid]] = {}
        for paid in self._paid:
            by_prompt.setdefault(_mark(paid.row.model, paid.input), []).append(paid)
        fitting: dict[PredictionId, list[OrphanMatch]] = {}
        async for job in self._jobs():
            for paid in by_prompt.get(_mark(job.model, job.input), ()):
                sent = self._as_sent_to(paid, job, contents)
                if sent is not None:
                    fitting.setdefault(paid.row.prediction_id, []).append(
                        OrphanMatch(paid, job, sent)
                    )
        return list(_shared_out(fitting))

    async def _jobs(self) -> AsyncIterator[JobInput]:
        for model in sorted({paid.row.model for paid in self._paid}):
            after = -1
            read = partial(jobs_after, model=model)
            while page := await self._context.read(partial(read, after=after)):
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

    async def adopt(self, match: OrphanMatch) -> bool:
        """As a create of the job that got no id, else as one more prediction.

        Not where it may be a create that is on its way: who sent that, or holds its lane by now,
        finds out what became of it.
        """
        context, row = self._context, match.paid.row
        waiting = await self._context.read(partial(never_created, job_seq=match.job.seq))
        created = row.created_at or context.runtime.clock.now().utc
        may_be = [
            one
            for one in waiting
            if one.intended - _MARGIN <= created and one.seed in {None, match.sent.get("seed")}
        ]
        if any(one.is_on_its_way for one in may_be):
            return False
        if fitting := [one.seq for one in may_be]:
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

    def _adoption(self, match: OrphanMatch, created: datetime) -> AdoptOrphan:
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
            caps=context.caps,
            budget_day=created.astimezone(context.settings.zone).date().isoformat(),
            seed=given_seed(match.sent),
            control_url=str(urls[0]) if match.job.control_sha256 and urls else None,
        )

    def _key_of(self, account: str) -> tuple[str, str]:
        return next((key.fingerprint, key.label) for key in self._keys if key.account == account)


def _mark(model: str, given: Mapping[str, object]) -> tuple[str, str]:
    """What equal inputs have in common, whatever their model calls its inputs."""
    return model, str(given.get("prompt"))


def _may_cost(row: Execution) -> bool:
    """Not one that failed and was not billed: there is nothing of it to miss."""
    return row.cost != 0 or row.status in {Status.SUCCEEDED, Status.NOT_FINISHED}


def _shared_out(fitting: Mapping[PredictionId, list[OrphanMatch]]) -> Iterator[OrphanMatch]:
    """One job for each execution, the earliest first; jobs with equal inputs take turns."""
    taken: dict[int, int] = {}
    for matches in sorted(fitting.values(), key=lambda found: created_text(found[0].paid.row)):
        best = min(matches, key=lambda match: (taken.get(match.job.seq, 0), _need(match.job)))
        taken[best.job.seq] = taken.get(best.job.seq, 0) + 1
        yield best


def _need(job: JobInput) -> int:
    """Less for a job that has nothing yet."""
    if job.state in _NEEDS_IT_MOST:
        return _NEEDS_IT_MOST.index(job.state)
    return len(_NEEDS_IT_MOST)


def created_text(row: Execution) -> str:
    return row.created_at.isoformat() if row.created_at is not None else ""
