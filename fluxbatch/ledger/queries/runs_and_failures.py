"""The lists that people read: manifests, runs, failures with their rows, results.

Owns no state and changes none; runs on a reader's own connection. Whatever may be long is
bounded or paged by the caller. Money is micro-dollars.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from fluxbatch.domain.job import LIVE, FailureClass, Input, JobState, OutputState, PredictionState
from fluxbatch.domain.money import Balance, DollarsOf, Micros, Scope
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import parse_utc
from fluxbatch.ledger.queries.rerolled_jobs import REROLLS
from fluxbatch.ledger.queries.totals import NEVER_MADE, MoneyLine

_m, _r, _j = schema.manifests.c, schema.rows.c, schema.jobs.c
_o, _p, _u, _b = schema.outputs.c, schema.predictions.c, schema.runs.c, schema.budgets.c
_HERE = _r.manifest_seq == bindparam("manifest_seq")


@dataclass(frozen=True, slots=True)
class ListedManifest:
    """A manifest of this dataset."""

    seq: int
    path: str | None
    """None: a sweep alone."""
    model: str
    rows: int
    invalid_rows: int
    imported: bool


_LATEST = Statement(
    lambda _: (
        select(_m.seq, _m.path, _m.model, _m.rows, _m.invalid_rows, _m.imported_at)
        .where(~_m.identity.like(literal_column(f"'{REROLLS}%'")))  # a file's own is a hash
        .order_by(_m.listed.desc(), _m.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)


def latest_manifest(db: Database) -> ListedManifest | None:
    """The one whose jobs the latest run worked on; None in a dataset that never ran."""
    found = db.run(_LATEST)
    if not found:
        return None
    seq, path, model, rows, invalid_rows, imported_at = found[0]
    return ListedManifest(seq, path, model, rows, invalid_rows, imported_at is not None)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run and its predictions, counted."""

    run_id: str
    started_at: str
    ended_at: str | None
    """None: it goes on, or was cut short and will be continued."""
    exit_code: int | None
    """Of its latest invocation."""
    reason: str | None
    creates: int
    spent: Micros
    reserved: Micros

    spent_usd = DollarsOf("spent")
    reserved_usd = DollarsOf("reserved")


_RUNS = Statement(
    lambda _: (
        select(_u.seq, _u.id, _u.started_at, _u.ended_at, _u.exit_code, _u.reason)
        .order_by(_u.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def latest_runs(db: Database, most: int, money: Sequence[MoneyLine]) -> list[ListedRun]:
    """Newest first; *money* is what `money_lines` has just read."""
    return [
        ListedRun(run_id, started, ended, code, reason, *_counted(money, seq))
        for seq, run_id, started, ended, code, reason in db.run(_RUNS, {"most": most})
    ]


def _counted(money: Sequence[MoneyLine], run_seq: int) -> tuple[int, Micros, Micros]:
    """Creates, spent and reserved of a run."""
    ours = [line for line in money if line.run_seq == run_seq]
    return (
        sum(line.predictions for line in ours if line.state not in NEVER_MADE),
        Micros(sum(line.cost for line in ours)),
        Micros(sum(line.reserved for line in ours)),
    )


_CAPS = Statement(
    lambda _: select(_b.scope, _b.key, _b.cap, _b.reserved, _b.settled, _b.estimated).where(
        or_(
            _b.scope == constant("dataset"),
            (_b.scope == constant("run")) & (_b.key == bindparam("run_id")),
            (_b.scope == constant("day"))
            & (_b.key == select(func.max(_b.key)).where(_b.scope == constant("day"))
                .scalar_subquery()),
        )
    )
)  # fmt: skip


def latest_balances(db: Database, run_id: str) -> list[Balance]:
    """The caps of a run, of the dataset, and of the latest day with a create."""
    order: tuple[Scope, ...] = ("run", "day", "dataset")
    found = [Balance(*record) for record in db.run(_CAPS, {"run_id": run_id})]
    return sorted(found, key=lambda line: order.index(line.scope))


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Failed jobs of one class with one reason."""

    failure: FailureClass
    reason: str
    jobs: int


_REASONS = Statement(
    lambda _: (
        select(_j.failure, _j.reason, func.count())
        .where(
            _j.state != constant(JobState.PENDING),  # the condition of the partial index
            _j.state == constant(JobState.FAILED),
            _j.listed_in == bindparam("manifest_seq"),
        )
        .group_by(_j.failure, _j.reason)
        .order_by(func.count().desc(), func.min(_j.position))
    )
)


def failure_reasons(db: Database, manifest_seq: int) -> list[FailureReason]:
    """Every class and reason among a manifest's failed jobs, the most frequent first."""
    return [
        FailureReason(FailureClass(failure), reason or "", jobs)
        for failure, reason, jobs in db.run(_REASONS, {"manifest_seq": manifest_seq})
    ]


@dataclass(frozen=True, slots=True)
class RowName:
    """A row as its author knows it."""

    number: int
    line: int
    user_id: str | None

    def __str__(self) -> str:
        if self.user_id is not None:
            return self.user_id
        return f"line {self.line}" if self.line else f"row {self.number}"


_FAILED_ROWS = Statement(
    lambda _: (
        select(_r.number, _r.line, _r.user_id)
        .join_from(schema.rows, schema.jobs, _j.seq == _r.job_seq)
        .where(
            _HERE,
            _j.state == constant(JobState.FAILED),
            _j.failure == bindparam("failure"),
            func.coalesce(_j.reason, literal_column("''")) == bindparam("reason"),
        )
        .order_by(_r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def failed_rows(db: Database, manifest_seq: int, why: FailureReason, most: int) -> list[RowName]:
    """The first rows that name a job which failed like this."""
    place = {"failure": why.failure, "reason": why.reason}
    return [
        RowName(*record)
        for record in db.run(_FAILED_ROWS, {**place, "manifest_seq": manifest_seq, "most": most})
    ]


@dataclass(frozen=True, slots=True)
class FailedJob:
    """One job that failed, as a line on a screen names it."""

    job: str
    """The job's id in hex."""
    row: RowName | None
    """The first that names it."""
    failure: FailureClass
    reason: str


_LATEST_LOOKED_AT = 200
"""A screen asks once a second: not every failed job of a million is put in order for it."""


def _latest_failed(_: object) -> Select[Any]:
    failed = (
        select(_j.seq, _j.id, _j.failure, _j.reason, _j.ended_at)
        .where(
            # the condition of the partial index first
            _j.state != constant(JobState.PENDING),
            _j.state == constant(JobState.FAILED),
            _j.listed_in == bindparam("manifest_seq"),
        )
        .order_by(_j.seq.desc())
        .limit(constant(_LATEST_LOOKED_AT))
        .offset(constant(0))
        .subquery()
    )
    latest = (
        select(failed)
        .order_by(failed.c.ended_at.desc(), failed.c.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
        .subquery()
    )
    is_its_row = and_(_HERE, _r.job_seq == latest.c.seq)
    first = select(func.min(_r.number)).where(is_its_row).correlate(latest).scalar_subquery()
    return (
        select(latest.c.id, latest.c.failure, latest.c.reason, _r.number, _r.line, _r.user_id)
        .join_from(latest, schema.rows, and_(_HERE, _r.number == first), isouter=True)
        .order_by(latest.c.ended_at, latest.c.seq)
    )


_LATEST_FAILED = Statement(_latest_failed)


def latest_failed(db: Database, manifest_seq: int, most: int = 12) -> list[FailedJob]:
    """The jobs of a manifest that failed last, the latest at the end.

    Of very many, those far down the manifest are looked at.
    """
    place = {"manifest_seq": manifest_seq, "most": most}
    return [
        FailedJob(
            bytes(job).hex(),
            None if number is None else RowName(number, line, user_id),
            FailureClass(failure),
            reason or "",
        )
        for job, failure, reason, number, line, user_id in db.run(_LATEST_FAILED, place)
    ]


_INVALID = Statement(
    lambda _: (
        select(_r.number, _r.line, _r.user_id, _r.error)
        .where(_HERE, _r.error.is_not(None))
        .order_by(_r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def invalid_rows(db: Database, manifest_seq: int, most: int) -> list[tuple[RowName, str]]:
    """The first rows that cannot become jobs, each with its reason."""
    return [
        (RowName(number, line, user_id), error)
        for number, line, user_id, error in db.run(
            _INVALID, {"manifest_seq": manifest_seq, "most": most}
        )
    ]


@dataclass(frozen=True, slots=True)
class UnknownPrediction:
    """A create that left and whose outcome nobody knows yet."""

    job: str
    """The job's id in hex."""
    state: PredictionState
    key_label: str
    intended_at: str
    at_risk: bool
    reserved: Micros

    reserved_usd = DollarsOf("reserved")


_UNKNOWN = Statement(
    lambda _: (
        select(_j.id, _p.state, _p.key_label, _p.intended_at, _p.at_risk, _p.reserved)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        # The condition of the partial index first, or every prediction is read.
        .where(one_of(_p.state, LIVE), one_of(_p.state, ("submitting", "unknown")))
        .order_by(_p.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def unknown_creates(db: Database, most: int) -> list[UnknownPrediction]:
    """The oldest first."""
    return [
        UnknownPrediction(
            bytes(job).hex(), PredictionState(state), label, at, bool(at_risk), Micros(reserved)
        )
        for job, state, label, at, at_risk, reserved in db.run(_UNKNOWN, {"most": most})
    ]


_HOLDS = Statement(
    lambda _: (
        select(_j.input_json, _p.intended_at, _p.ended_at)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(
            _p.state == constant(PredictionState.SUCCEEDED),
            _p.answered_at.is_not(None),
            _p.adopted.is_(None),
            _j.model == bindparam("model"),
        )
        .order_by(_p.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def latest_holds(db: Database, model: str, most: int) -> list[tuple[Input, float]]:
    """(input, seconds its slot was held) of the latest predictions that succeeded.

    From the intent to the end as it was noticed, so the network and the polls are in it.
    """
    return [
        (json.loads(given), (parse_utc(ended_at) - parse_utc(intended_at)).total_seconds())
        for given, intended_at, ended_at in db.run(_HOLDS, {"model": model, "most": most})
    ]


_OPEN_RUN = Statement(
    lambda _: (
        select(_u.id)
        .join_from(schema.runs, schema.manifests, _m.seq == _u.manifest_seq)
        .where(_m.identity == bindparam("identity"), _u.ended_at.is_(None))
        .order_by(_u.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)


def unended_run(db: Database, identity: str) -> str | None:
    """The run of this manifest that the next invocation continues."""
    found = db.run(_OPEN_RUN, {"identity": identity})
    return str(found[0][0]) if found else None


_IMAGES = Statement(
    lambda _: (
        select(_o.path)
        .where(_o.state == constant(OutputState.STORED))
        .order_by(_o.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def latest_images(db: Database, most: int) -> list[str]:
    """Paths in the dataset of what was wanted last and is stored, newest first."""
    return [path for (path,) in db.run(_IMAGES, {"most": most})]
