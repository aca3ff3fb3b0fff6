"""The local control images that a manifest's pending jobs need, by ranges of jobs."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import bindparam, func, select

from fluxbatch.domain.job import ControlFile, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_RANGE = 20_000
_j = schema.jobs.c
_ENDS = Statement(lambda _: select(func.min(_j.seq), func.max(_j.seq)))
_NEEDED = Statement(
    lambda _: (
        select(_j.control_sha256, func.min(_j.control_path))
        .where(
            _j.seq >= bindparam("first"),
            _j.seq < bindparam("end"),
            _j.listed_in == bindparam("manifest_seq"),
            _j.state == constant(JobState.PENDING),
            _j.control_sha256.is_not(None),
        )
        .group_by(_j.control_sha256)
        .order_by(_j.control_sha256)
    )
)


def needed_controls(db: Database, manifest_seq: int) -> Iterator[list[ControlFile]]:
    """One of each content in so many jobs; the next may have the same again.

    A range with two ends is read by the jobs' numbers whatever a server knows of the table: right
    after an import it knows nothing, and sorted all jobs for each page.
    """
    ((lowest, highest),) = db.run(_ENDS)
    for first in range(lowest or 0, (highest or -1) + 1, _RANGE):
        ends = {"first": first, "end": first + _RANGE}
        if rows := db.run(_NEEDED, {**ends, "manifest_seq": manifest_seq}):
            yield [ControlFile(path or "", sha256, 0, "") for sha256, path in rows]
