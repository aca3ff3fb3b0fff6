"""The history of one job: itself, its predictions, its outputs, every recorded change.

Owns no state and changes none; runs on a reader's own connection. Money is micro-dollars, times
are the ledger's own texts. No URL comes with its query: that may hold a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select

from fluxbatch.domain.job import FailureClass, JobState, OutputState, PredictionState
from fluxbatch.domain.money import DollarsOf, DollarsOrNone, Micros
from fluxbatch.infra.redaction import strip_query
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement
from fluxbatch.ledger.queries.history.run_changes import (
    InForce,
    RunLine,
    changes_for_job,
    kept_waiting,
)

_j, _p, _o, _h = schema.jobs.c, schema.predictions.c, schema.outputs.c, schema.history.c
_u = schema.runs.c
_OF_JOB: ColumnElement[int] = bindparam("job_seq")


@dataclass(frozen=True, slots=True)
class JobEntry:
    """The job's own row."""

    job_id: str
    """In hex."""
    model: str
    input: Mapping[str, Any]
    repeat: int
    outputs_wanted: int
    control_sha256: str | None
    control_path: str | None
    state: JobState
    failure: FailureClass | None
    reason: str | None
    listed_in: int | None
    """The manifest that named it last."""
    not_before: str | None
    created_at: str
    ended_at: str | None


@dataclass(frozen=True, slots=True)
class PredictionEntry:
    """One attempt."""

    seq: int
    attempt: int
    provider_id: str | None
    state: PredictionState
    at_risk: bool
    adopted: str | None
    key_label: str
    price: Micros
    reserved: Micros
    cost: Micros | None
    estimated: bool
    seed: int | None
    control_url: str | None
    intended_at: str
    ended_at: str | None
    run_time_s: float | None
    polls: int
    run_id: str
    tool_version: str

    price_usd = DollarsOf("price")
    reserved_usd = DollarsOf("reserved")
    cost_usd = DollarsOrNone("cost")


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """One image, or one that is wanted or lost."""

    seq: int
    prediction_seq: int
    number: int
    state: OutputState
    path: str | None
    sha256: str | None
    file_sha256: str | None
    bytes: int | None
    mime: str | None
    width: int | None
    height: int | None
    dhash: str | None
    quality: Mapping[str, Any]
    reason: str | None
    stored_at: str | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change: of the job, or of a run that would have bought it meanwhile."""

    at: str
    subject: str
    subject_seq: int
    was: str | None
    became: str | None
    event: str
    reason: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class JobHistory:
    """One job in full."""

    job_seq: int
    job: JobEntry
    predictions: tuple[PredictionEntry, ...]
    """The oldest first."""
    outputs: tuple[OutputEntry, ...]
    history: tuple[HistoryEntry, ...]
    in_force: tuple[HistoryEntry, ...] = ()
    """What `fluxbatch ctl` last changed of runs that are not known to have ended; only one that is
    at work minds it."""

    cost_usd = DollarsOf("cost")
    reserved_usd = DollarsOf("reserved")

    @property
    def cost(self) -> Micros:
        return Micros(sum(p.cost or 0 for p in self.predictions))

    @property
    def reserved(self) -> Micros:
        return Micros(sum(p.reserved for p in self.predictions))

    @property
    def is_estimated(self) -> bool:
        return any(p.estimated for p in self.predictions)


_JOB = Statement(
    lambda _: select(
        _j.id, _j.model, _j.input_json, _j.repeat, _j.outputs_wanted, _j.control_sha256,
        _j.control_path, _j.state, _j.failure, _j.reason, _j.listed_in, _j.not_before,
        _j.created_at, _j.ended_at,
    ).where(_j.seq == _OF_JOB)
)  # fmt: skip
_PREDICTIONS = Statement(
    lambda _: (
        select(
            _p.seq, _p.attempt, _p.provider_id, _p.state, _p.at_risk, _p.adopted, _p.key_label,
            _p.price, _p.reserved, _p.cost, _p.estimated, _p.seed, _p.control_url,
            _p.intended_at, _p.ended_at, _p.run_time_us, _p.polls, _u.id, _u.tool_version,
        )
        .join_from(schema.predictions, schema.runs, _u.seq == _p.run_seq)
        .where(_p.job_seq == _OF_JOB)
        .order_by(_p.attempt)
    )
)  # fmt: skip
_OUTPUTS = Statement(
    lambda _: (
        select(
            _o.seq, _o.prediction_seq, _o.number, _o.state, _o.path, _o.sha256, _o.file_sha256,
            _o.bytes, _o.mime, _o.width, _o.height, _o.dhash, _o.quality_json, _o.reason,
            _o.stored_at,
        )
        .where(_o.job_seq == _OF_JOB)
        .order_by(_o.prediction_seq, _o.number)
    )
)  # fmt: skip
_HISTORY = Statement(
    lambda _: (
        select(
            _h.seq, _h.at, _h.subject, _h.subject_seq, _h.was, _h.became, _h.event, _h.reason,
            _h.request_id,
        )
        .where(_h.job_seq == _OF_JOB)
        # In one transaction everything has one moment; its lines stand in their order.
        .order_by(_h.seq)
    )
)  # fmt: skip


def job_history(db: Database, job_seq: int) -> JobHistory:
    """The job's whole record, as it is now."""
    place = {"job_seq": job_seq}
    (record,) = db.run(_JOB, place)
    job, changes = _job(record), changes_for_job(db, job_seq)
    lines = [(record[0], HistoryEntry(*record[1:])) for record in db.run(_HISTORY, place)]
    held = kept_waiting(changes, list(_waits(lines, _born_at(job, changes))))
    lines += [(line.seq, _of_run(line)) for line in held]
    return JobHistory(
        job_seq,
        job,
        tuple(_prediction(record) for record in db.run(_PREDICTIONS, place)),
        tuple(_output(record) for record in db.run(_OUTPUTS, place)),
        tuple(entry for _, entry in sorted(lines, key=lambda line: line[0])),
        tuple(_of_run(line) for line, until in changes if until is None),
    )


def _born_at(job: JobEntry, changes: list[InForce]) -> int:
    """The job's place in the history: its birth leaves no line."""
    before = [line.seq for line, _ in changes if line.at < job.created_at]
    return max(before, default=0)


def _waits(lines: list[tuple[int, HistoryEntry]], born: int) -> Iterator[tuple[int, int | None]]:
    """From which line to which the job was pending; None: it is."""
    since: int | None = born
    for seq, entry in lines:
        if entry.subject != "job":
            continue
        if since is not None and entry.became != JobState.PENDING:
            yield since, seq
            since = None
        elif since is None and entry.became == JobState.PENDING:
            since = seq
    if since is not None:
        yield since, None


def _of_run(line: RunLine) -> HistoryEntry:
    return HistoryEntry(
        line.at, "run", line.run_seq, line.was, line.became, line.event, line.reason, None
    )


def _job(record: tuple[Any, ...]) -> JobEntry:
    name, model, given, repeat, wanted, sha256, path, state, failure, reason = record[:10]
    listed_in, not_before, created_at, ended_at = record[10:]
    return JobEntry(
        job_id=bytes(name).hex(),
        model=model,
        input=json.loads(given),
        repeat=repeat,
        outputs_wanted=wanted,
        control_sha256=sha256,
        control_path=path,
        state=JobState(state),
        failure=FailureClass(failure) if failure else None,
        reason=reason,
        listed_in=listed_in,
        not_before=not_before,
        created_at=created_at,
        ended_at=ended_at,
    )


def _prediction(record: tuple[Any, ...]) -> PredictionEntry:
    seq, attempt, provider_id, state, at_risk, adopted, label, price, reserved, cost = record[:10]
    estimated, seed, control_url, intended, ended, run_us, polls, run_id, version = record[10:]
    return PredictionEntry(
        seq=seq,
        attempt=attempt,
        provider_id=provider_id,
        state=PredictionState(state),
        at_risk=bool(at_risk),
        adopted=adopted,
        key_label=label,
        price=Micros(price),
        reserved=Micros(reserved),
        cost=Micros(cost) if cost is not None else None,
        estimated=bool(estimated),
        seed=seed,
        control_url=strip_query(control_url) if control_url else None,
        intended_at=intended,
        ended_at=ended,
        run_time_s=run_us / 1_000_000 if run_us is not None else None,
        polls=polls,
        run_id=run_id,
        tool_version=version,
    )


def _output(record: tuple[Any, ...]) -> OutputEntry:
    seq, prediction_seq, number, state, path, sha256, file_sha256, size = record[:8]
    mime, width, height, dhash, quality, reason, stored_at = record[8:]
    return OutputEntry(
        seq=seq,
        prediction_seq=prediction_seq,
        number=number,
        state=OutputState(state),
        # Without an ending it is a name that waits for its file.
        path=path if path and "." in path.rpartition("/")[2] else None,
        sha256=sha256,
        file_sha256=file_sha256,
        bytes=size,
        mime=mime,
        width=width,
        height=height,
        dhash=dhash,
        quality=json.loads(quality) if quality else {},
        reason=reason,
        stored_at=stored_at,
    )
