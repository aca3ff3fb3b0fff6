"""The rows of an imported manifest with their jobs' states, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import bindparam, case, select

from fluxbatch.domain.job import JobId, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_m, _r, _j = schema.manifests.c, schema.rows.c, schema.jobs.c
_PAGE = 5_000


class ImportedRow(NamedTuple):
    """A row that names a job."""

    number: int
    line: int
    user_id: str | None
    meta_json: str | None
    job_id: JobId
    state: JobState
    model: str
    repeat: int
    outputs_wanted: int
    control_path: str | None
    control_sha256: str | None
    input_json: str | None
    """Of a pending job; None of any other."""


_IMPORTED = Statement(
    lambda _: select(_m.seq, _m.path, _m.invalid_rows).where(
        _m.identity == bindparam("identity"), _m.imported_at.is_not(None)
    )
)
_ROWS = Statement(
    lambda _: (
        select(
            _r.number,
            _r.line,
            _r.user_id,
            _r.meta_json,
            _j.id,
            _j.state,
            _j.model,
            _j.repeat,
            _j.outputs_wanted,
            _j.control_path,
            _j.control_sha256,
            case((_j.state == constant(JobState.PENDING), _j.input_json)),
        )
        .join_from(schema.rows, schema.jobs, _j.seq == _r.job_seq)
        .where(_r.manifest_seq == bindparam("manifest_seq"), _r.number > bindparam("after"))
        .order_by(_r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_STATES = {state.value: state for state in JobState}


def imported_whole(db: Database, identity: str) -> tuple[int, str | None] | None:
    """(seq, path) of the manifest of *identity*; None where it was never imported to its end, or
    some of its rows name no job."""
    found = db.run(_IMPORTED, {"identity": identity})
    if not found or found[0][2]:
        return None
    return found[0][0], found[0][1]


def imported_rows(db: Database, manifest_seq: int) -> Iterator[ImportedRow]:
    """In the manifest's order, as they are when their page is read."""
    after = 0
    while records := db.run(_ROWS, {"manifest_seq": manifest_seq, "after": after, "most": _PAGE}):
        for number, line, user_id, meta, job, state, *rest in records:
            yield ImportedRow(number, line, user_id, meta, JobId(bytes(job)), _STATES[state], *rest)
        after = int(records[-1][0])
