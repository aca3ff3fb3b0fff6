"""The data of a report, page by page: jobs with rows and images, and runs with their cost.

Owns no state and changes none; runs on a reader's own connection. A pending job that was never
submitted has nothing to show and is only counted elsewhere. Money is micro-dollars.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import bindparam, func, or_, select

from fluxbatch.domain.job import JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of

_JOBS = 500
_PREDICTIONS = 5_000

_r, _j, _o = schema.rows.c, schema.jobs.c, schema.outputs.c
_p, _u = schema.predictions.c, schema.runs.c


class ShownJob(NamedTuple):
    """A job, and the first row of its latest manifest that names it."""

    seq: int
    id: bytes
    model: str
    state: str
    failure: str | None
    reason: str | None
    input_json: str
    control_sha256: str | None
    control_path: str | None
    line: int | None
    user_id: str | None
    axes_json: str | None


class ShownOutput(NamedTuple):
    """An output that is stored or lost, and the prediction that made it."""

    seq: int
    job_seq: int
    prediction_seq: int
    number: int
    state: str
    path: str | None
    sha256: str | None
    bytes: int | None
    mime: str | None
    width: int | None
    height: int | None
    quality_json: str | None
    reason: str | None
    seed: int | None
    provider_id: str | None
    run_seq: int
    run_time_us: int | None
    cost: int | None
    estimated: int


class ShownRun(NamedTuple):
    """A run and the settings it began with."""

    seq: int
    run_id: str
    started_at: str
    ended_at: str | None
    exit_code: int | None
    reason: str | None
    invocations: int
    settings_json: str


class ShownPrediction(NamedTuple):
    """A create and what became of it."""

    seq: int
    job_seq: int
    state: str
    account: str
    intended_at: str
    left_at: str | None
    answered_at: str | None
    ended_at: str | None
    run_time_us: int | None
    cost: int | None


_SHOWN_JOBS = Statement(
    lambda _: (
        select(
            _j.seq, _j.id, _j.model, _j.state, _j.failure, _j.reason, _j.input_json,
            _j.control_sha256, _j.control_path, _r.line, _r.user_id, _r.axes_json,
        )
        .select_from(
            schema.jobs.outerjoin(
                schema.rows, (_r.job_seq == _j.seq) & (_r.manifest_seq == _j.listed_in)
            )
        )
        .where(
            _j.seq > bindparam("after"),
            or_(_j.state != constant(JobState.PENDING), _j.predictions > constant(0)),
        )
        .order_by(_j.seq, _r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)  # fmt: skip
_SHOWN_OUTPUTS = Statement(
    lambda _: (
        select(
            _o.seq, _o.job_seq, _o.prediction_seq, _o.number, _o.state, _o.path, _o.sha256,
            _o.bytes, _o.mime, _o.width, _o.height, _o.quality_json, _o.reason, _p.seed,
            _p.provider_id, _p.run_seq, _p.run_time_us, _p.cost, _p.estimated,
        )
        .join_from(schema.outputs, schema.predictions, _p.seq == _o.prediction_seq)
        .where(
            _o.job_seq >= bindparam("first"),
            _o.job_seq <= bindparam("last"),
            one_of(_o.state, ("stored", "lost")),
        )
        .order_by(_o.job_seq, _o.seq)
    )
)  # fmt: skip
_COUNT = Statement(
    lambda _: select(func.count()).where(
        or_(_j.state != constant(JobState.PENDING), _j.predictions > constant(0))
    )
)
_SHOWN_RUNS = Statement(
    lambda _: (
        select(
            _u.seq, _u.id, _u.started_at, _u.ended_at, _u.exit_code, _u.reason, _u.invocations,
            _u.settings_json,
        )
        .order_by(_u.seq.desc())
    )
)  # fmt: skip
_BOUGHT = Statement(
    lambda _: (
        select(
            _p.seq, _p.job_seq, _p.state, _p.account, _p.intended_at, _p.left_at, _p.answered_at,
            _p.ended_at, _p.run_time_us, _p.cost,
        )
        .where(
            _p.seq > bindparam("after"), _p.seq <= bindparam("until"),
            # By the index of runs, each page would put in order all that are left of the run.
            _p.run_seq + constant(0) == bindparam("run_seq"),
        )
        .order_by(_p.seq)
    )
)  # fmt: skip
_ENDS = Statement(
    lambda _: select(
        func.coalesce(func.min(_p.seq), constant(0)), func.coalesce(func.max(_p.seq), constant(0))
    ).where(_p.run_seq == bindparam("run_seq"))
)
_LAST_CHANGE = Statement(lambda _: select(func.max(schema.history.c.at)))


def shown_jobs(db: Database) -> Iterator[list[tuple[ShownJob, list[ShownOutput]]]]:
    """Every job that was begun with its images, in the order the jobs were named, page by page."""
    after = 0
    while records := db.run(_SHOWN_JOBS, {"after": after, "most": _JOBS}):
        jobs = {record[0]: ShownJob(*record) for record in reversed(records)}
        outputs: dict[int, list[ShownOutput]] = {seq: [] for seq in jobs}
        place = {"first": min(jobs), "last": max(jobs)}
        for record in db.run(_SHOWN_OUTPUTS, place):
            output = ShownOutput(*record)
            outputs.setdefault(output.job_seq, []).append(output)
        yield [(jobs[seq], outputs[seq]) for seq in sorted(jobs)]
        after = max(jobs)


def count_shown_jobs(db: Database) -> int:
    """How many `shown_jobs` are."""
    ((count,),) = db.run(_COUNT)
    return int(count)


def shown_runs(db: Database) -> list[ShownRun]:
    """Newest first."""
    return [ShownRun(*record) for record in db.run(_SHOWN_RUNS)]


def shown_predictions(db: Database, run_seq: int) -> Iterator[ShownPrediction]:
    """All predictions of a run, oldest first."""
    ((first, last),) = db.run(_ENDS, {"run_seq": run_seq})
    for after in range(first - 1, last, _PREDICTIONS):
        place = {"run_seq": run_seq, "after": after, "until": after + _PREDICTIONS}
        yield from map(ShownPrediction._make, db.run(_BOUGHT, place))


def last_change(db: Database) -> str | None:
    """When anything last changed; None in a ledger without history."""
    ((at,),) = db.run(_LAST_CHANGE)
    return None if at is None else str(at)
