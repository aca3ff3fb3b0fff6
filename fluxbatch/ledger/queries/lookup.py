"""The lookup of rows and jobs by a number, an id of the user's or ours, or a file.

Owns no state and changes none; runs on a reader's own connection. Every answer is bounded: two
are enough to know that a name is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, or_, select

from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_r, _j, _p, _o = schema.rows.c, schema.jobs.c, schema.predictions.c, schema.outputs.c
_ID_DIGITS = 32
_HERE = _r.manifest_seq == bindparam("manifest_seq")


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row of a manifest and the job it names."""

    number: int
    line: int
    user_id: str | None
    job_seq: int | None
    """None: the row is invalid."""
    error: str | None


def _rows(condition: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda _: (
            select(_r.number, _r.line, _r.user_id, _r.job_seq, _r.error)
            .where(_HERE, condition)
            .order_by(_r.number)
            .limit(bindparam("most"))
            .offset(constant(0))
        )
    )


_BY_NUMBER = _rows(_r.number == bindparam("number"))
_BY_USER_ID = _rows(_r.user_id == bindparam("user_id"))
# Not a range: what follows a text differs from one collation to the next.
_BY_PREFIX = _rows(
    func.substr(_r.user_id, constant(1), bindparam("length")) == bindparam("user_id")
)
_OF_JOB = _rows(_r.job_seq == bindparam("job_seq"))
_COUNT_OF_JOB = Statement(
    lambda _: select(func.count()).where(_HERE, _r.job_seq == bindparam("job_seq"))
)
_JOBS = Statement(
    lambda _: (
        select(_j.seq, _j.id)
        .where(_j.id.between(bindparam("least"), bindparam("greatest")))
        .order_by(_j.id)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_BY_PROVIDER_ID = Statement(
    lambda _: select(_p.job_seq).where(_p.provider_id == bindparam("provider_id"))
)
_BY_PATH = Statement(lambda _: select(_o.job_seq, _o.seq).where(_o.path == bindparam("path")))
_BY_SHA256 = Statement(
    lambda _: (
        select(_o.job_seq, _o.seq)
        .where(or_(_o.sha256 == bindparam("sha256"), _o.file_sha256 == bindparam("sha256")))
        .order_by(_o.seq)
        .limit(constant(1))
        .offset(constant(0))
    )
)


def row_by_number(db: Database, manifest_seq: int, number: int) -> NamedRow | None:
    found = _named(db, _BY_NUMBER, manifest_seq, 1, {"number": number})
    return found[0] if found else None


def rows_by_user_id(db: Database, manifest_seq: int, user_id: str, most: int) -> list[NamedRow]:
    """Rows with exactly this id."""
    return _named(db, _BY_USER_ID, manifest_seq, most, {"user_id": user_id})


def rows_by_prefix(db: Database, manifest_seq: int, start: str, most: int) -> list[NamedRow]:
    """Rows whose id begins so."""
    place = {"user_id": start, "length": len(start)}
    return _named(db, _BY_PREFIX, manifest_seq, most, place)


def rows_of_job(
    db: Database, manifest_seq: int, job_seq: int, most: int
) -> tuple[int, list[NamedRow]]:
    """How many rows name a job, and the first of them."""
    place = {"manifest_seq": manifest_seq, "job_seq": job_seq}
    ((count,),) = db.run(_COUNT_OF_JOB, place)
    return int(count), _named(db, _OF_JOB, manifest_seq, most, place)


def jobs_by_prefix(db: Database, digits: str, most: int) -> list[tuple[int, str]]:
    """Jobs whose id begins with these hex digits: seq and whole id."""
    place = {
        "least": bytes.fromhex(digits.ljust(_ID_DIGITS, "0")),
        "greatest": bytes.fromhex(digits.ljust(_ID_DIGITS, "f")),
        "most": most,
    }
    return [(int(seq), bytes(name).hex()) for seq, name in db.run(_JOBS, place)]


def job_of_prediction(db: Database, provider_id: str) -> int | None:
    found = db.run(_BY_PROVIDER_ID, {"provider_id": provider_id})
    return int(found[0][0]) if found else None


def output_at(db: Database, path: str) -> tuple[int, int] | None:
    """Job and output of a path relative to the dataset."""
    found = db.run(_BY_PATH, {"path": path})
    return (int(found[0][0]), int(found[0][1])) if found else None


def output_of_bytes(db: Database, sha256: str) -> tuple[int, int] | None:
    """Job and output of a file with this hash, wherever it lies; reads every output."""
    found = db.run(_BY_SHA256, {"sha256": sha256})
    return (int(found[0][0]), int(found[0][1])) if found else None


def _named(
    db: Database, statement: Statement, manifest_seq: int, most: int, place: Mapping[str, Any]
) -> list[NamedRow]:
    records = db.run(statement, {"manifest_seq": manifest_seq, "most": most, **place})
    return [NamedRow(*record) for record in records]
