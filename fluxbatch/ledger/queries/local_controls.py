"""The local control images that a manifest's pending jobs need, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import bindparam, select

from fluxbatch.domain.job import ControlFile, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_PAGE = 5_000
_j = schema.jobs.c
_NEEDED = Statement(
    lambda _: (
        select(_j.seq, _j.control_sha256, _j.control_path)
        .where(
            _j.seq > bindparam("after"),
            _j.listed_in == bindparam("manifest_seq"),
            _j.state == constant(JobState.PENDING),
            _j.control_sha256.is_not(None),
        )
        .order_by(_j.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def needed_controls(db: Database, manifest_seq: int) -> Iterator[list[ControlFile]]:
    """One of each job, in pages of some thousands; many jobs may name the same one."""
    after = 0
    while rows := db.run(_NEEDED, {"after": after, "manifest_seq": manifest_seq, "most": _PAGE}):
        yield [ControlFile(path or "", sha256, 0, "") for _, sha256, path in rows]
        ((after, *_),) = rows[-1:]
