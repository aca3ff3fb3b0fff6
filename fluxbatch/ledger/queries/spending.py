"""The spending of a ledger, added up by day, run, model, key or axis.

Owns no state and changes none; runs on a reader's own connection. A group is counted by the
predictions in it, so that the groups add up to the ledger's totals. Money is micro-dollars.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, and_, case, func, select

from fluxbatch.domain.job import OutputState, PredictionState
from fluxbatch.domain.money import DollarsOf, DollarsOrNone, Micros, in_dollars
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.queries.totals import GAVE_NOTHING, NEVER_MADE

_p, _j, _o = schema.predictions.c, schema.jobs.c, schema.outputs.c
_r, _u = schema.rows.c, schema.runs.c

AXIS = "axis:"
"""What the dimension of an axis begins with."""
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "day": _p.budget_day,
    "run": _u.id,
    "model": _j.model,
    "key": _p.key_label,
    AXIS: _r.axes_json,
}
DIMENSIONS = tuple(name for name in _COLUMNS if name != AXIS)
"""Beside the axes of a sweep: `axis:NAME`."""


@dataclass(frozen=True, slots=True)
class Spending:
    """The money of some predictions, and what they gave."""

    creates: int = 0
    settled: int = 0
    estimated: int = 0
    reserved: int = 0
    on_failures: int = 0
    """Paid for predictions that gave nothing; part of settled and estimated."""
    images: int = 0

    settled_usd = DollarsOf("settled")
    estimated_usd = DollarsOf("estimated")
    reserved_usd = DollarsOf("reserved")
    on_failures_usd = DollarsOf("on_failures")
    spent_usd = DollarsOf("spent")
    at_risk_usd = DollarsOf("at_risk")
    an_image_usd = DollarsOrNone("an_image")

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(Spending))
        )

    @property
    def spent(self) -> Micros:
        return Micros(self.settled + self.estimated)

    @property
    def at_risk(self) -> Micros:
        """May still be billed, or is billed at another figure; its estimates are in `spent`."""
        return Micros(self.reserved + self.estimated)

    @property
    def an_image(self) -> Micros | None:
        """What an image cost, failures included; None where there is none."""
        return Micros(round(self.spent / self.images)) if self.images else None


def _sum_where(condition: ColumnElement[bool], amount: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, amount), else_=constant(0))), constant(0))


def _joined(dimension: str, start: FromClause) -> FromClause:
    """*start* with what the dimension's column is in.

    Several rows may name one job: the first of its latest manifest stands for it, or its money
    would be counted once for each.
    """
    if dimension == "run":
        return start.join(schema.runs, _u.seq == _p.run_seq)
    if dimension not in {"model", AXIS}:
        return start
    start = start.join(schema.jobs, _j.seq == _p.job_seq)
    if dimension == "model":
        return start
    named = schema.rows.alias("named")
    first = (
        select(func.min(named.c.number))
        .where(named.c.job_seq == _j.seq, named.c.manifest_seq == _j.listed_in)
        .correlate(schema.jobs)
        .scalar_subquery()
    )
    is_its_row = and_(_r.manifest_seq == _j.listed_in, _r.number == first)
    return start.join(schema.rows, is_its_row, isouter=True)


@cache
def _money(dimension: str) -> Statement:
    group = _COLUMNS[dimension]
    return Statement(
        lambda _: (
            select(
                group,
                _sum_where(~one_of(_p.state, NEVER_MADE), constant(1)),
                _sum_where(_p.estimated == constant(0), func.coalesce(_p.cost, constant(0))),
                _sum_where(_p.estimated != constant(0), func.coalesce(_p.cost, constant(0))),
                func.coalesce(func.sum(_p.reserved), constant(0)),
                _sum_where(one_of(_p.state, GAVE_NOTHING), func.coalesce(_p.cost, constant(0))),
            )
            .select_from(_joined(dimension, schema.predictions))
            .group_by(group)
        )
    )


@cache
def _images(dimension: str) -> Statement:
    group = _COLUMNS[dimension]
    made = schema.predictions.join(schema.outputs, _o.prediction_seq == _p.seq)
    return Statement(
        lambda _: (
            select(group, func.count())
            .select_from(_joined(dimension, made))
            .where(_o.state == constant(OutputState.STORED))
            .group_by(group)
        )
    )


def spending_by(db: Database, dimension: str) -> dict[str | None, Spending]:
    """By the values of one of `DIMENSIONS`, or of `axis:NAME`.

    None is what belongs to no value: a job whose row has no such axis, or that no manifest names.
    """
    axis = dimension.removeprefix(AXIS) if dimension.startswith(AXIS) else None
    column = dimension if axis is None else AXIS
    found: defaultdict[str | None, Spending] = defaultdict(Spending)
    for value, *money in db.run(_money(column)):
        found[_group(value, axis)] += Spending(*map(int, money))
    for value, images in db.run(_images(column)):
        found[_group(value, axis)] += Spending(images=int(images))
    nothing = Spending()
    return {value: spent for value, spent in found.items() if spent != nothing}


def _group(value: str | None, axis: str | None) -> str | None:
    if axis is None or value is None:
        return value
    axes = json.loads(value)
    if axis not in axes:
        return None
    chosen = axes[axis]
    return chosen if isinstance(chosen, str) else json.dumps(chosen, ensure_ascii=False)


def axis_names(db: Database) -> set[str]:
    """Every axis by which `spending_by` can add up something."""
    return {
        name
        for value, *_ in db.run(_money(AXIS))
        if value is not None
        for name in json.loads(value)
    }


class PriceChange(NamedTuple):
    """Executions of one model that cost something else in the latest run than in the one before."""

    model: str
    outputs: int
    """Images wanted of each."""
    before: Micros
    before_run: str
    now: Micros
    now_run: str

    @property
    def before_usd(self) -> Decimal:
        return in_dollars(self.before)

    @property
    def now_usd(self) -> Decimal:
        return in_dollars(self.now)


_CHARGED = Statement(
    lambda _: (
        select(_j.model, _j.outputs_wanted, _u.seq, _u.id, _p.cost, func.count())
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .join(schema.runs, _u.seq == _p.run_seq)
        .where(
            _p.state == constant(PredictionState.SUCCEEDED),
            _p.estimated == constant(0),
            _p.cost.is_not(None),
        )
        .group_by(_j.model, _j.outputs_wanted, _u.seq, _u.id, _p.cost)
        .order_by(_j.model, _j.outputs_wanted, _u.seq, _p.cost)
    )
)


def price_changes(db: Database) -> list[PriceChange]:
    """By model and images wanted: what most successes of its last two runs really cost, where
    that differs. An estimate is no price, and is left out."""
    charged: defaultdict[tuple[str, int], dict[str, Counter[int]]] = defaultdict(dict)
    for model, outputs, _, run_id, cost, count in db.run(_CHARGED):
        costs = charged[model, int(outputs)].setdefault(run_id, Counter())
        costs[int(cost)] += int(count)
    return list(_changed(charged.items()))


def _changed(
    charged: Iterable[tuple[tuple[str, int], dict[str, Counter[int]]]],
) -> Iterable[PriceChange]:
    for (model, outputs), runs in charged:
        latest = [(run, Micros(costs.most_common(1)[0][0])) for run, costs in runs.items()][-2:]
        if len(latest) == 2 and latest[0][1] != latest[1][1]:
            (before_run, before), (now_run, now) = latest
            yield PriceChange(model, outputs, before, before_run, now, now_run)
