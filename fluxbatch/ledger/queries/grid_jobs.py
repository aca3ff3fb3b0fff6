"""The rows and jobs of the live page's grid: which cell a job is in, and where it stands.

Owns no state and changes none; runs on a reader's own connection. All jobs are read once, and from
then on those that have a new line of history. Money is micro-dollars.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, case, func, select

from fluxbatch.domain.job import JobState, OutputState, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.queries.rerolled_jobs import REROLLS_SINCE

_r, _j, _o = schema.rows.c, schema.jobs.c, schema.outputs.c
_p, _h, _rr = schema.predictions.c, schema.history.c, schema.rerolls.c


class GridRow(NamedTuple):
    """A row of a sweep."""

    number: int
    job_seq: int | None
    """None: it is invalid."""
    axes_json: str


class GridJob(NamedTuple):
    """Where a job stands, and what it has cost so far."""

    seq: int
    state: JobState
    failure: str | None
    is_unknown: bool
    """Whether a create of it has no clear answer yet."""
    spent: Micros
    reserved: Micros
    highest_cost: Micros
    """Of one prediction of it, where the provider has said it."""
    images: int = 0
    newest: int = 0
    """The number of its newest stored output; 0: it has none."""

    @property
    def alike(self) -> tuple[Any, ...]:
        """What it has in common with most others: all but which job and which image."""
        return self[1:8]


_NO_IMAGE = (0, 0)
_PAGE = 5_000
"""Rows read at once: what is not kept of them takes no memory for long."""
_ROWS = Statement(
    lambda _: (
        select(_r.number, _r.job_seq, _r.axes_json)
        .where(
            _r.manifest_seq == bindparam("manifest_seq"),
            _r.number > bindparam("after"),
            _r.number <= bindparam("until"),
            _r.axes_json.is_not(None),
        )
        .order_by(_r.number)
    )
)
_COUNT_ROWS = Statement(
    lambda _: select(func.count(), func.coalesce(func.max(_r.number), constant(0))).where(
        _r.manifest_seq == bindparam("manifest_seq"), _r.axes_json.is_not(None)
    )
)
_REROLLS = Statement(lambda _: select(_rr.job_seq, _rr.of_job_seq).order_by(_rr.job_seq))
_COUNT_REROLLS = Statement(lambda _: select(func.count()).select_from(schema.rerolls))


def _of_rows(job: ColumnElement[int]) -> ColumnElement[bool]:
    named = select(_r.job_seq).where(
        _r.manifest_seq == bindparam("manifest_seq"),
        _r.number > bindparam("after"),
        _r.number <= bindparam("until"),
    )
    return job.in_(named)


def _rerolled(job: ColumnElement[int]) -> ColumnElement[bool]:
    return job.in_(select(_rr.job_seq))


def _changed(job: ColumnElement[int]) -> ColumnElement[bool]:
    # The number is none of an index, so that history is read from its end.
    return job.in_(select(_h.job_seq).where(_h.seq > bindparam("after"), _h.job_seq.is_not(None)))


def _jobs(chosen: ColumnElement[bool]) -> Statement:
    known = case((_p.estimated == constant(0), _p.cost), else_=constant(0))
    unknown = case((_p.state == constant(PredictionState.UNKNOWN), constant(1)), else_=constant(0))
    return Statement(
        lambda _: (
            select(
                _j.seq,
                _j.state,
                _j.failure,
                func.coalesce(func.max(unknown), constant(0)),
                func.coalesce(func.sum(_p.cost), constant(0)),
                func.coalesce(func.sum(_p.reserved), constant(0)),
                func.coalesce(func.max(known), constant(0)),
            )
            .select_from(schema.jobs.outerjoin(schema.predictions, _p.job_seq == _j.seq))
            .where(chosen)
            .group_by(_j.seq, _j.state, _j.failure)
        )
    )


def _images(chosen: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda _: (
            select(_o.job_seq, func.count(), func.max(_o.seq))
            .where(_o.state == constant(OutputState.STORED), chosen)
            .group_by(_o.job_seq)
        )
    )


_OF_ROWS = (_jobs(_of_rows(_j.seq)), _images(_of_rows(_o.job_seq)))
_REROLLED = (_jobs(_rerolled(_j.seq)), _images(_rerolled(_o.job_seq)))
_CHANGED = (_jobs(_changed(_j.seq)), _images(_changed(_o.job_seq)))


def count_grid_rows(db: Database, manifest_seq: int) -> tuple[int, int]:
    """How many rows of the manifest a sweep made, and the number of the last one."""
    ((rows, last),) = db.run(_COUNT_ROWS, {"manifest_seq": manifest_seq})
    return int(rows), int(last)


def grid_rows(db: Database, manifest_seq: int, last: int) -> Iterator[GridRow]:
    """The manifest's rows up to number *last* that a sweep made, in their order."""
    for place in _pages(manifest_seq, last):
        for record in db.run(_ROWS, place):
            yield GridRow(*record)


def rerolled_pairs(db: Database) -> list[tuple[int, int]]:
    """Each reroll's job with the one it was made of, by their numbers."""
    if db.version < REROLLS_SINCE:
        return []
    return [(job, origin) for job, origin in db.run(_REROLLS)]


def count_rerolled(db: Database) -> int:
    """How many rerolls there are."""
    if db.version < REROLLS_SINCE:
        return 0
    ((found,),) = db.run(_COUNT_REROLLS)
    return int(found)


def grid_jobs(db: Database, manifest_seq: int, last: int) -> Iterator[GridJob]:
    """The jobs of the manifest's rows up to number *last*, and every reroll."""
    for place in _pages(manifest_seq, last):
        yield from _read(db, _OF_ROWS, place)
    if db.version >= REROLLS_SINCE:
        yield from _read(db, _REROLLED, {})


def changed_grid_jobs(db: Database, after: int) -> Iterator[GridJob]:
    """The jobs with a line of history numbered above *after*."""
    return _read(db, _CHANGED, {"after": after})


def _pages(manifest_seq: int, last: int) -> Iterator[dict[str, int]]:
    for after in range(0, last, _PAGE):
        until = min(after + _PAGE, last)
        yield {"manifest_seq": manifest_seq, "after": after, "until": until}


def _read(
    db: Database, statements: tuple[Statement, Statement], params: dict[str, int]
) -> Iterator[GridJob]:
    of_jobs, of_images = statements
    images = {job: (count, newest) for job, count, newest in db.run(of_images, params)}
    standings: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # most are alike: one of each is kept
    for record in db.run(of_jobs, params):
        found = record[1:]
        standing = standings.get(found)
        if standing is None:
            standing = standings[found] = _standing(*found)
        place = images.get(record[0], _NO_IMAGE)
        yield GridJob._make((record[0], *standing, *place))


def _standing(
    state: str, failure: str | None, is_unknown: int, spent: int, reserved: int, highest: int
) -> tuple[Any, ...]:
    """As `GridJob` has it."""
    money = (Micros(int(amount)) for amount in (spent, reserved, highest))
    return JobState(state), failure, bool(is_unknown), *money
