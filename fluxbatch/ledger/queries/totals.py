"""The totals of a ledger: counts, money, failures.

Owns no state and changes none; runs on a reader's own connection. Totals are sums
over rows, never counters. Money is micro-dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    bindparam,
    case,
    distinct,
    func,
    select,
)

from fluxbatch.domain.adoption import BY_TIME
from fluxbatch.domain.job import LIVE, JobState, OutputState, PredictionState
from fluxbatch.domain.money import DollarsOf, Micros
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Statement, constant, one_of

_j, _p, _o = schema.jobs.c, schema.predictions.c, schema.outputs.c


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs a manifest names, by state; rows that name none are `invalid`."""

    by_state: dict[JobState, int]
    unknown: int
    invalid: int
    unlisted: int
    submitting: int = 0
    """Of the unknown: those whose create may just be on its way, as in every run that goes on."""

    @property
    def in_doubt(self) -> int:
        """Unknown to a run that goes on: it sent them, and no clear answer came."""
        return self.unknown - self.submitting

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    def of(self, state: JobState) -> int:
        return self.by_state.get(state, 0)


_COUNT_PENDING = Statement(
    lambda _: select(func.count()).where(
        _j.state == constant(JobState.PENDING), _j.listed_in == bindparam("manifest_seq")
    )
)
_COUNT_BEGUN = Statement(
    lambda _: (
        select(_j.state, func.count())
        .where(_j.state != constant(JobState.PENDING), _j.listed_in == bindparam("manifest_seq"))
        .group_by(_j.state)
    )
)
_COUNT_UNKNOWN = Statement(
    lambda _: (
        select(
            func.count(distinct(_p.job_seq)),
            func.count(distinct(case((_p.state == constant("submitting"), _p.job_seq)))),
        )
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(
            one_of(_p.state, LIVE),  # the condition of the partial index, or all are read
            one_of(_p.state, ("submitting", "unknown")),
            _j.state == constant(JobState.ACTIVE),
            _j.listed_in == bindparam("manifest_seq"),
        )
    )
)
_COUNT_INVALID = Statement(
    lambda _: select(schema.manifests.c.invalid_rows).where(
        schema.manifests.c.seq == bindparam("manifest_seq")
    )
)


def _pending_where(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return (
        select(func.count())
        .where(_j.state == constant(JobState.PENDING), condition)
        .scalar_subquery()
    )


# Three ranges of the index: as one inequality every pending job would be read.
_COUNT_UNLISTED = Statement(
    lambda _: select(
        _pending_where(_j.listed_in.is_(None))
        + _pending_where(_j.listed_in < bindparam("manifest_seq"))
        + _pending_where(_j.listed_in > bindparam("manifest_seq"))
    )
)


def count_jobs(db: Database, manifest_seq: int) -> JobCounts:
    place = {"manifest_seq": manifest_seq}
    states = {JobState(state): int(count) for state, count in db.run(_COUNT_BEGUN, place)}
    ((pending,),) = db.run(_COUNT_PENDING, place)
    if pending:
        states[JobState.PENDING] = int(pending)
    ((unknown, submitting),) = db.run(_COUNT_UNKNOWN, place)
    ((invalid,),) = db.run(_COUNT_INVALID, place)
    ((unlisted,),) = db.run(_COUNT_UNLISTED, place)
    return JobCounts(states, int(unknown), int(invalid), int(unlisted), int(submitting))


@dataclass(frozen=True, slots=True)
class Totals:
    """Money and images, of one run or of the whole dataset."""

    creates: int
    settled: Micros
    estimated: Micros
    reserved: Micros
    on_failures: Micros
    """Paid for predictions that gave nothing; part of settled and estimated."""
    images: int
    image_bytes: int

    settled_usd = DollarsOf("settled")
    estimated_usd = DollarsOf("estimated")
    reserved_usd = DollarsOf("reserved")
    on_failures_usd = DollarsOf("on_failures")
    spent_usd = DollarsOf("spent")
    at_risk_usd = DollarsOf("at_risk")

    @property
    def spent(self) -> Micros:
        return Micros(self.settled + self.estimated)

    @property
    def at_risk(self) -> Micros:
        """May still be billed, or is billed at another figure."""
        return Micros(self.reserved + self.estimated)


GAVE_NOTHING = ("errored", "cancelled", "timed_out", "lost")
NEVER_MADE = ("unsent", "refused", "absent")
_GROUP = (_p.run_seq, _p.state, _p.estimated)  # an index has them in this order
_MONEY = Statement(
    lambda _: select(
        *_GROUP,
        func.count(),
        func.coalesce(func.sum(_p.reserved), constant(0)),
        func.coalesce(func.sum(_p.cost), constant(0)),
    ).group_by(*_GROUP)
)
_STORED = _o.state == constant(OutputState.STORED)
_BYTES = func.coalesce(func.sum(_o.bytes), constant(0))
_IMAGES = Statement(lambda _: select(func.count(), _BYTES).where(_STORED))
_IMAGES_OF_RUN = Statement(
    lambda _: (
        select(func.count(), _BYTES)
        .join_from(schema.predictions, schema.outputs, _p.seq == _o.prediction_seq)
        .where(_STORED, _p.run_seq == bindparam("run_seq"))
    )
)


class MoneyLine(NamedTuple):
    """The predictions of one run and state, estimated or settled, added up."""

    run_seq: int
    state: str
    estimated: int
    predictions: int
    reserved: int
    cost: int


def money_lines(db: Database) -> list[MoneyLine]:
    """All money there is: one pass over every prediction, the most that a status costs."""
    return [
        MoneyLine(run_seq, state, estimated, int(count), int(held), int(cost))
        for run_seq, state, estimated, count, held, cost in db.run(_MONEY)
    ]


def totals(db: Database, money: Sequence[MoneyLine] | None = None) -> Totals:
    """Of every prediction there is; *money* is what `money_lines` has just read, if anybody has."""
    return _totals(money_lines(db) if money is None else money, db.run(_IMAGES)[0])


def totals_of_run(db: Database, run_seq: int) -> tuple[Totals, Totals]:
    """Of the predictions of *run_seq*, and of all: the money in one pass over it."""
    money = money_lines(db)
    (images,) = db.run(_IMAGES_OF_RUN, {"run_seq": run_seq})
    of_run = _totals([line for line in money if line.run_seq == run_seq], images)
    return of_run, _totals(money, db.run(_IMAGES)[0])


def _totals(money: Sequence[MoneyLine], images: DbRow) -> Totals:
    made_nothing = [line for line in money if line.state in GAVE_NOTHING]
    return Totals(
        creates=sum(line.predictions for line in money if line.state not in NEVER_MADE),
        settled=Micros(sum(line.cost for line in money if not line.estimated)),
        estimated=Micros(sum(line.cost for line in money if line.estimated)),
        reserved=Micros(sum(line.reserved for line in money)),
        on_failures=Micros(sum(line.cost for line in made_nothing)),
        images=int(images[0]),
        image_bytes=int(images[1]),
    )


_BY_TIME = Statement(
    lambda _: select(func.count()).where(
        _p.adopted == bindparam("adopted"), _p.state == constant(PredictionState.SUCCEEDED)
    )
)


def count_found_by_time(db: Database) -> int:
    """Successes whose create lost its answer and was found by its time alone."""
    ((count,),) = db.run(_BY_TIME, {"adopted": BY_TIME})
    return int(count)
