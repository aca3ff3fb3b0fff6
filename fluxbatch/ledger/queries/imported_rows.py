"""The rows of an imported manifest with their jobs' states, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, case, select

from fluxbatch.domain.job import JobId, JobState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Statement, constant

_m, _r, _j = schema.manifests.c, schema.rows.c, schema.jobs.c
_PAGE = 500


class ImportedRow(NamedTuple):
    """A row that names a job."""

    job_seq: int
    job_id: JobId
    state: JobState
    number: int
    line: int
    user_id: str | None
    meta_json: str | None
    model: str
    repeat: int
    outputs_wanted: int
    control_path: str | None
    control_sha256: str | None
    input_json: str | None
    """Of a pending job; None of any other."""


class ImportedPage(NamedTuple):
    """Some rows in the manifest's order, column by column: of a million most are only counted."""

    job_seqs: Sequence[int]
    job_ids: Sequence[bytes]
    states: Sequence[str]
    """Of the jobs, by the names in `JobState`."""
    metas: Sequence[str | None]
    """As JSON."""
    records: Sequence[DbRow]

    def row(self, place: int) -> ImportedRow:
        """All that there is of one of them."""
        job_seq, job_id, state, *rest = self.records[place]
        return ImportedRow(job_seq, JobId(bytes(job_id)), JobState(state), *rest)


_IMPORTED = Statement(
    lambda _: select(_m.seq, _m.path, _m.invalid_rows).where(
        _m.identity == bindparam("identity"), _m.imported_at.is_not(None)
    )
)
_ROWS = Statement(
    lambda _: (
        select(
            _r.job_seq,
            _j.id,
            _j.state,
            _r.number,
            _r.line,
            _r.user_id,
            _r.meta_json,
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


def imported_whole(db: Database, identity: str) -> tuple[int, str | None] | None:
    """(seq, path) of the manifest of *identity*; None where it was never imported to its end, or
    some of its rows name no job."""
    found = db.run(_IMPORTED, {"identity": identity})
    if not found or found[0][2]:
        return None
    return found[0][0], found[0][1]


def imported_rows(db: Database, manifest_seq: int) -> Iterator[ImportedPage]:
    """In the manifest's order, as they are when their page is read."""
    after = 0
    while records := db.run(_ROWS, {"manifest_seq": manifest_seq, "after": after, "most": _PAGE}):
        job_seqs, job_ids, states, numbers, _, _, metas, *_ = zip(*records, strict=True)
        yield ImportedPage(job_seqs, job_ids, states, metas, records)
        after = int(numbers[-1])
