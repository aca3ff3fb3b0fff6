"""Rows with what became of them, page by page: what a manifest asked for and what there is.

Owns no state and changes none; runs on a reader's own connection. Each page is one query,
so a million rows are never held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import and_, bindparam, func, select

from fluxbatch.job import FailureClass, JobId, JobState, OutputState
from fluxbatch.ledger import tables
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.statement import Statement, constant
from fluxbatch.money import Micros

_r, _j, _p, _o = tables.rows.c, tables.jobs.c, tables.predictions.c, tables.outputs.c
_PAGE = 500


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An image on disk."""

    path: str
    """Relative to the dataset."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    prediction_id: str | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class RowResult:
    """One row, its job and the images there are of it."""

    number: int
    line: int
    user_id: str | None
    state: JobState | None
    """None: the row is invalid and names no job."""
    failure: FailureClass | None
    reason: str | None
    job_id: JobId | None
    model: str | None
    input: Mapping[str, Any]
    meta: Mapping[str, Any]
    axes: Mapping[str, Any]
    cost: Micros
    """Of every prediction of the job; rows that name one job each show all of it."""
    cost_is_estimated: bool
    outputs: tuple[StoredOutput, ...]


_OF_JOB = _p.job_seq == _j.seq
_COST = select(func.coalesce(func.sum(_p.cost), constant(0))).where(_OF_JOB).correlate(tables.jobs)
_ESTIMATED = (
    select(func.coalesce(func.max(_p.estimated), constant(0))).where(_OF_JOB).correlate(tables.jobs)
)
_ROWS = (
    select(_r.number, _r.line, _r.user_id, _r.error, _r.meta_json, _r.axes_json, _r.job_seq)
    .where(_r.manifest_seq == bindparam("manifest_seq"), _r.number > bindparam("after"))
    .order_by(_r.number)
    .limit(bindparam("most"))
    .offset(constant(0))
    .subquery("page")
)
_made = tables.predictions.alias("made")
_PAGES = Statement(
    lambda _: (
        select(
            _ROWS.c.number, _ROWS.c.line, _ROWS.c.user_id, _ROWS.c.error, _ROWS.c.meta_json,
            _ROWS.c.axes_json, _j.id, _j.state, _j.failure, _j.reason, _j.model, _j.input_json,
            _COST.scalar_subquery(), _ESTIMATED.scalar_subquery(),
            _o.path, _o.sha256, _o.bytes, _o.mime, _o.width, _o.height,
            _made.c.provider_id, _made.c.seed,
        )
        .select_from(
            _ROWS.outerjoin(tables.jobs, _j.seq == _ROWS.c.job_seq)
            .outerjoin(
                tables.outputs,
                and_(_o.job_seq == _j.seq, _o.state == constant(OutputState.STORED)),
            )
            .outerjoin(_made, _made.c.seq == _o.prediction_seq)
        )
        .order_by(_ROWS.c.number, _o.prediction_seq, _o.number)
    )
)  # fmt: skip


def row_results(db: Database, manifest_seq: int) -> Iterator[RowResult]:
    """Every row of a manifest, in its order, as it is when its page is read."""
    after = 0
    while True:
        place = {"manifest_seq": manifest_seq, "after": after, "most": _PAGE}
        records = db.run(_PAGES, place)
        for number, of_row in groupby(records, key=lambda record: record[0]):
            yield _result(list(of_row))
            after = int(number)
        if not records:
            return


def _result(records: list[tuple[Any, ...]]) -> RowResult:
    number, line, user_id, error, meta, axes, job, state, failure, reason = records[0][:10]
    model, given, cost, estimated = records[0][10:14]
    return RowResult(
        number=number,
        line=line,
        user_id=user_id,
        state=JobState(state) if state is not None else None,
        failure=FailureClass(failure) if failure is not None else None,
        reason=error or reason,
        job_id=JobId(bytes(job)) if job is not None else None,
        model=model,
        input=json.loads(given) if given else {},
        meta=json.loads(meta) if meta else {},
        axes=json.loads(axes) if axes else {},
        cost=Micros(int(cost)),
        cost_is_estimated=bool(estimated),
        outputs=tuple(StoredOutput(*record[14:22]) for record in records if record[14]),
    )


_STATE = Statement(lambda _: select(_j.state).where(_j.id == bindparam("job_id")))


def job_state(db: Database, name: JobId) -> JobState | None:
    """None for a job the dataset never heard of."""
    found = db.run(_STATE, {"job_id": name})
    return JobState(found[0][0]) if found else None


@dataclass(frozen=True, slots=True)
class NamedJob:
    """Which job a row names."""

    number: int
    line: int
    user_id: str | None
    axes_json: str | None
    job_id: JobId


_NAMED = Statement(
    lambda _: (
        select(_r.number, _r.line, _r.user_id, _r.axes_json, _j.id)
        .join_from(tables.rows, tables.jobs, _j.seq == _r.job_seq)
        .where(_r.manifest_seq == bindparam("manifest_seq"), _r.number > bindparam("after"))
        .order_by(_r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def named_jobs(db: Database, manifest_seq: int) -> Iterator[NamedJob]:
    """Every row of a manifest that names a job, in its order."""
    after = 0
    while records := db.run(
        _NAMED, {"manifest_seq": manifest_seq, "after": after, "most": 10 * _PAGE}
    ):
        for number, line, user_id, axes, job in records:
            yield NamedJob(number, line, user_id, axes, JobId(bytes(job)))
        after = int(records[-1][0])
