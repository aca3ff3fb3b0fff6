"""The pending jobs of a manifest, page by page, in the order they are submitted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, select

from fluxbatch.domain.job import Input, JobId, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_j, _p, _o = schema.jobs.c, schema.predictions.c, schema.outputs.c


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as the worker needs it."""

    seq: int
    job_id: JobId
    model: str
    input: Input
    outputs_wanted: int
    control_sha256: str | None
    control_path: str | None
    reseed: int


QUEUED_COLUMNS = (
    _j.seq, _j.id, _j.model, _j.input_json, _j.outputs_wanted, _j.control_sha256,
    _j.control_path, _j.reseed,
)  # fmt: skip


def _pending(*beyond: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda _: (
            select(*QUEUED_COLUMNS, _j.priority, _j.position)
            .where(
                _j.state == constant(JobState.PENDING),
                _j.listed_in == bindparam("manifest_seq"),
                *beyond,
            )
            .order_by(_j.priority.desc(), _j.position)
            .limit(bindparam("most"))
            .offset(constant(0))
        )
    )


# Two statements, each one range of the index: as one with OR, every page reads all before it.
_PENDING = (
    _pending(_j.priority == bindparam("priority"), _j.position > bindparam("position")),
    _pending(_j.priority < bindparam("priority")),
)


_COUNT_PENDING = Statement(
    lambda _: select(func.count()).where(
        _j.state == constant(JobState.PENDING), _j.listed_in == bindparam("manifest_seq")
    )
)


_NTH_PENDING = Statement(
    lambda _: (
        select(*QUEUED_COLUMNS)
        .where(_j.state == constant(JobState.PENDING), _j.listed_in == bindparam("manifest_seq"))
        .order_by(_j.priority.desc(), _j.position)
        .limit(constant(1))
        .offset(bindparam("place"))
    )
)


def sampled_jobs(db: Database, manifest_seq: int, most: int) -> list[QueuedJob]:
    """Pending jobs from everywhere in line: one of each of *most* equal parts of it.

    Which one of a part is drawn, so that no rhythm of the manifest is caught; the same jobs as
    long as the same ones are pending.
    """
    ((pending,),) = db.run(_COUNT_PENDING, {"manifest_seq": manifest_seq})
    parts, dice = min(most, int(pending)), Random(int(pending))
    jobs = []
    for part in range(parts):
        first, beyond = part * pending // parts, (part + 1) * pending // parts
        place = {"manifest_seq": manifest_seq, "place": dice.randrange(first, beyond)}
        jobs += [queued_job(record) for record in db.run(_NTH_PENDING, place)]
    return jobs


class QueueCursor(NamedTuple):
    """A place in line; pages of pending jobs continue after it."""

    priority: int
    position: int


QUEUE_START = QueueCursor(2**31 - 1, -1)


def pending_jobs(
    db: Database, manifest_seq: int, after: QueueCursor, most: int
) -> tuple[list[QueuedJob], QueueCursor]:
    """The next pending jobs in line, and the place to go on from."""
    jobs, place = list[QueuedJob](), after
    for statement in _PENDING:
        line = {
            "manifest_seq": manifest_seq,
            "priority": after.priority,
            "position": after.position,
            "most": most - len(jobs),
        }
        for record in db.run(statement, line):
            jobs.append(queued_job(record[:8]))
            place = QueueCursor(record[8], record[9])
        if len(jobs) == most:
            break
    return jobs, place


def queued_job(record: Sequence[Any]) -> QueuedJob:
    seq, job_id, model, input_json, wanted, sha256, path, reseed = record
    return QueuedJob(
        seq, JobId(bytes(job_id)), model, json.loads(input_json), wanted, sha256, path, reseed
    )  # fmt: skip
