"""The rerolls of a dataset: which jobs were made of which, and where they stand.

Owns the name of the manifest that a model's rerolls are listed in. Changes nothing; a ledger of
before there were rerolls has none.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, func, select

from fluxbatch.domain.job import JobId, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement

REROLLS_SINCE = 5
"""The version of the schema that has the table."""
REROLLS = "rerolls of "
"""What the identity of their manifests begins with; those of the user's manifests are hashes."""

_m, _j, _rr = schema.manifests.c, schema.jobs.c, schema.rerolls.c
_origin = schema.jobs.alias("origin")
_MANIFEST = Statement(lambda _: select(_m.seq).where(_m.identity == bindparam("identity")))
_STATES = Statement(
    lambda _: (
        select(_j.state, func.count())
        # As a join every job is read, where there is no reroll at all.
        .where(_j.seq.in_(select(_rr.job_seq)), _j.listed_in.is_not(None))
        .group_by(_j.state)
    )
)
_OF_JOB = Statement(
    lambda _: (
        select(_rr.of_job_seq, _origin.c.id, _rr.number, _rr.row_number)
        .join_from(schema.rerolls, _origin, _origin.c.seq == _rr.of_job_seq)
        .where(_rr.job_seq == bindparam("job_seq"))
    )
)


class RerollOrigin(NamedTuple):
    """What a reroll was made of."""

    job_seq: int
    job_id: JobId
    number: int
    """Of this job's rerolls, from 1."""
    row_number: int
    """The first row that named the job when it was asked for."""


def rerolls_identity(model: str) -> str:
    return f"{REROLLS}{model}"


def reroll_manifest(db: Database, model: str) -> int | None:
    """The number of the manifest that the model's rerolls are listed in."""
    found = db.run(_MANIFEST, {"identity": rerolls_identity(model)})
    return int(found[0][0]) if found else None


def count_rerolls(db: Database) -> dict[JobState, int]:
    """All rerolls by the state of their jobs, but for failed ones that another stands for."""
    if db.version < REROLLS_SINCE:
        return {}
    return {JobState(state): int(count) for state, count in db.run(_STATES)}


def reroll_origin(db: Database, job_seq: int) -> RerollOrigin | None:
    """None for a job that is no reroll."""
    found = db.run(_OF_JOB, {"job_seq": job_seq}) if db.version >= REROLLS_SINCE else ()
    for seq, job_id, number, row_number in found:
        return RerollOrigin(seq, JobId(bytes(job_id)), number, row_number)
    return None
