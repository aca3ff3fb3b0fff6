"""What people are told: counts, money, failures.

Owns no state and changes none; runs on a reader's own connection. Totals are sums
over rows, never counters. Money is micro-dollars.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    bindparam,
    case,
    distinct,
    func,
    or_,
    select,
)

from fluxbatch.job import LIVE, JobState, OutputState
from fluxbatch.ledger import tables
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.statement import Statement, constant, one_of
from fluxbatch.money import Micros

_j, _p, _o = tables.jobs.c, tables.predictions.c, tables.outputs.c


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs a manifest names, by state; rows that name none are `invalid`."""

    by_state: dict[JobState, int]
    unknown: int
    invalid: int
    unlisted: int

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
        select(func.count(distinct(_p.job_seq)))
        .join_from(tables.predictions, tables.jobs, _j.seq == _p.job_seq)
        .where(
            one_of(_p.state, LIVE),  # the words of the partial index, or all are read
            one_of(_p.state, ("submitting", "unknown")),
            _j.state == constant(JobState.ACTIVE),
            _j.listed_in == bindparam("manifest_seq"),
        )
    )
)
_COUNT_INVALID = Statement(
    lambda _: select(tables.manifests.c.invalid_rows).where(
        tables.manifests.c.seq == bindparam("manifest_seq")
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
    ((unknown,),) = db.run(_COUNT_UNKNOWN, place)
    ((invalid,),) = db.run(_COUNT_INVALID, place)
    ((unlisted,),) = db.run(_COUNT_UNLISTED, place)
    return JobCounts(states, int(unknown), int(invalid), int(unlisted))


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

    @property
    def spent(self) -> Micros:
        return Micros(self.settled + self.estimated)

    @property
    def at_risk(self) -> Micros:
        """May still be billed, or is billed at another figure."""
        return Micros(self.reserved + self.estimated)


def _sum(column: object, condition: object | None = None) -> object:
    total = func.sum(column if condition is None else case((condition, column)))  # type: ignore[arg-type]
    return func.coalesce(total, constant(0))


_ENDED_BADLY = one_of(_p.state, ("errored", "cancelled", "timed_out", "lost"))
_MONEY = (
    func.count(case((~one_of(_p.state, ("unsent", "refused", "absent")), constant(1)))),
    _sum(_p.cost, _p.estimated == constant(0)),
    _sum(_p.cost, _p.estimated == constant(1)),
    _sum(_p.reserved),
    _sum(_p.cost, _ENDED_BADLY),
)
_IN_RUN = or_(
    bindparam("run_seq", type_=Integer) == constant(0), _p.run_seq == bindparam("run_seq")
)
_TOTALS = Statement(lambda _: select(*_MONEY).where(_IN_RUN))  # type: ignore[call-overload]
_IMAGES = Statement(
    lambda _: (
        select(func.count(), func.coalesce(func.sum(_o.bytes), constant(0)))
        .join_from(tables.outputs, tables.predictions, _p.seq == _o.prediction_seq)
        .where(_o.state == constant(OutputState.STORED), _IN_RUN)
    )
)


def totals(db: Database, run_seq: int | None = None) -> Totals:
    """Of the predictions that *run_seq* bought, or of all."""
    place = {"run_seq": run_seq or 0}
    (money,) = db.run(_TOTALS, place)
    ((images, image_bytes),) = db.run(_IMAGES, place)
    creates, settled, estimated, reserved, on_failures = (int(amount) for amount in money)
    return Totals(
        creates,
        Micros(settled),
        Micros(estimated),
        Micros(reserved),
        Micros(on_failures),
        int(images),
        int(image_bytes),
    )
