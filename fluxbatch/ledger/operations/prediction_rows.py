"""The row of a prediction, before an event and after it.

Owns the `predictions` table after the intent. Amounts change here and in the lines
of `budgets` alike; what was learned once is not erased by an event that knows less.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from sqlalchemy import bindparam, select

from fluxbatch.domain.job import LIVE, FailureClass, JobState, PredictionId, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import MoneyMove
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import KeyedQuery, Rows, RowWrite, row_update
from fluxbatch.ledger.db.sql import Statement, among, constant, one_of
from fluxbatch.ledger.operations import budgets

_p, _j = schema.predictions.c, schema.jobs.c
_other = schema.predictions.alias("other")
_READ = KeyedQuery(
    lambda d: (
        select(
            _p.seq,
            _p.state, _j.state, _p.price, _p.reserved, _p.cost, _p.estimated, _p.budget_day,
            _p.at_risk, _p.boot_id, _p.job_seq, _j.attempts_json, schema.runs.c.id, _p.run_seq,
            _p.attempt, _p.provider_id,
        )
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .join(schema.runs, schema.runs.c.seq == _p.run_seq)
        .where(among(d, _p.seq))
        .order_by(_j.seq, _p.seq)
        .with_for_update(of=[schema.predictions, schema.jobs])
    ),
    job_at=10,
)  # fmt: skip
_BEARERS = KeyedQuery(lambda d: select(_p.provider_id, _p.seq).where(among(d, _p.provider_id)))
_LIVE = KeyedQuery(
    lambda d: (
        select(_p.seq, _other.c.seq)
        .join_from(schema.predictions, _other, _other.c.job_seq == _p.job_seq)
        .where(among(d, _p.seq), _other.c.seq != _p.seq, one_of(_other.c.state, LIVE))
    )
)
_REASON = Statement(
    lambda _: (
        select(_p.reason)
        .where(_p.job_seq == bindparam("job_seq"), _p.failure == bindparam("failed_of"))
        .order_by(_p.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)


class Before(NamedTuple):
    """A prediction, its job and its run as an event finds them."""

    state: PredictionState
    job_state: JobState
    price: Micros
    reserved: int
    cost: int | None
    estimated: int
    budget_day: str
    at_risk: int
    boot_id: str
    job_seq: int
    attempts_json: str | None
    run_id: str
    run_seq: int
    attempt: int
    provider_id: str | None


class Amounts(NamedTuple):
    """What a prediction's row holds of the three amounts."""

    reserved: int
    cost: int | None
    estimated: int

    @property
    def parts(self) -> tuple[int, int, int]:
        """Reserved, settled, estimated."""
        cost = self.cost or 0
        return self.reserved, 0 if self.estimated else cost, cost if self.estimated else 0


def expect_before(
    rows: Rows, prediction_seq: int, provider_id: PredictionId | None, *, fails: bool
) -> None:
    """An event is going to happen to it: *fails*, perhaps one that ends it without a result."""
    rows.expect(_READ, prediction_seq)
    if provider_id is not None:
        rows.expect(_BEARERS, provider_id)
    if fails:
        rows.expect(_LIVE, prediction_seq)


def read_before(db: Database, prediction_seq: int) -> Before:
    ((_, state, job_state, *rest),) = db.rows.of(_READ, prediction_seq)
    return Before(PredictionState(state), JobState(job_state), *rest)


def is_anothers(db: Database, provider_id: PredictionId, prediction_seq: int) -> bool:
    """Whether another prediction than this one bears the id."""
    return any(seq != prediction_seq for _, seq in db.rows.of(_BEARERS, provider_id))


def another_lives(db: Database, prediction_seq: int) -> bool:
    """Whether another prediction of its job may be alive."""
    return bool(db.rows.of(_LIVE, prediction_seq))


def end_reason(db: Database, job_seq: int, failure: FailureClass) -> str | None:
    """The reason of the job's latest prediction that failed so."""
    found = db.run(_REASON, {"job_seq": job_seq, "failed_of": failure})
    return found[0][0] if found else None


def amounts_after(move: MoneyMove, before: Before, cost: Micros | None) -> Amounts:
    """The amounts once *move* is done. Source: docs/design/protocol.md 5."""
    if move is MoneyMove.UNCHANGED:
        return Amounts(before.reserved, before.cost, before.estimated)
    if move is MoneyMove.RESERVED:
        return Amounts(before.reserved or before.price, None, 0)
    if move is MoneyMove.RELEASED:
        return Amounts(0, None, 0)
    known = before.cost if cost is None and not before.estimated else cost
    guessed = known is None and move is MoneyMove.BY_COST
    return Amounts(0, before.price if known is None else known, int(guessed))


def book_amounts(db: Database, before: Before, after: Amounts) -> None:
    """Move the difference in the budget lines of the prediction's own run and day."""
    was = Amounts(before.reserved, before.cost, before.estimated).parts
    reserved, settled, estimated = (new - old for new, old in zip(after.parts, was, strict=True))
    if reserved or settled or estimated:
        budgets.book_budgets(
            db,
            before.run_id,
            before.budget_day,
            reserved=reserved,
            settled=settled,
            estimated=estimated,
        )


def write(db: Database, prediction_seq: int, values: Mapping[str, object], polls: int) -> None:
    """Set the named columns and add to the polls."""
    row = {**values, "seq": prediction_seq, "polls": polls}
    db.rows.write(_write_of(tuple(values)), row)


@cache
def _write_of(names: tuple[str, ...]) -> RowWrite:
    # Only what is given: SQLite rewrites the entry of an index even where its column stays.
    return row_update(schema.predictions, names, ("polls",))
