"""The import of manifests, their rows and their jobs, in the manifest's order.

Owns `manifests`, `rows`, `files` and the insertion of jobs. An import may be cut short
anywhere: it starts over and changes nothing that is there. Only jobs whose
`listed_in` is the run's manifest are ever submitted. Source: docs/design/protocol.md 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, null, or_, select, update

from fluxbatch.domain.job import JobState, Row, canonical_json
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import (
    Dialects,
    Statement,
    clean,
    constant,
    insert_all,
    insert_numbered,
)
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations.shuffle import places, reorder
from fluxbatch.ledger.sharing.bulk_import import insert_batch

_Values = tuple[object, ...]

_encode = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` would build it for every row

_m, _j, _r, _f = schema.manifests.c, schema.jobs.c, schema.rows.c, schema.files.c
_SEQ = _m.seq == bindparam("manifest_seq")
_PENDING = JobState.PENDING.value

_FIND = Statement(
    lambda _: select(
        _m.seq, _m.imported_at, _m.listed, _m.rows, _m.invalid_rows, _m.path, _m.shuffle
    ).where(_m.identity == bindparam("identity"))
)
_INSERT = Statement(
    lambda d: insert_numbered(
        d,
        schema.manifests,
        ("identity", "path", "bytes", "model", "settings_json", "first_seen_at", "shuffle"),
    )
)
_START_OVER = Statement(
    lambda _: (
        update(schema.manifests)
        .where(_SEQ)
        .values(
            imported_at=null(),
            rows=constant(0),
            invalid_rows=constant(0),
            path=bindparam("now_at"),
            shuffle=bindparam("to_shuffle"),
        )
    )
)
_UNLIST_JOBS = Statement(
    lambda _: (
        update(schema.jobs)
        .where(_j.listed_in == bindparam("manifest_seq"))
        .values(listed_in=null())
    )
)
_UNLIST = Statement(
    lambda _: update(schema.manifests).where(_m.listed == constant(1)).values(listed=constant(0))
)
_FORGET_FILES = Statement(
    lambda _: delete(schema.manifest_files).where(
        schema.manifest_files.c.manifest_seq == bindparam("manifest_seq")
    )
)
_FORGET_ROWS = Statement(
    lambda _: delete(schema.rows).where(_r.manifest_seq == bindparam("manifest_seq"))
)
_DROP_JOBS = Statement(
    lambda _: delete(schema.jobs).where(
        _j.listed_in == bindparam("manifest_seq"),
        _j.predictions == constant(0),
        ~select(_r.job_seq).where(_r.job_seq == _j.seq).exists(),
    )
)
_DROP = Statement(
    lambda _: delete(schema.manifests).where(
        _SEQ, ~select(schema.runs.c.seq).where(schema.runs.c.manifest_seq == _m.seq).exists()
    )
)
_FINISH = Statement(
    lambda _: (
        update(schema.manifests)
        .where(_SEQ)
        .values(
            imported_at=bindparam("at"),
            listed=constant(1),
            rows=bindparam("row_count"),
            invalid_rows=bindparam("invalid_count"),
        )
    )
)
_NUMBERS = (
    select(_r.job_seq, func.min(_r.number).label("number"))
    .where(_r.manifest_seq == bindparam("manifest_seq"), _r.job_seq.is_not(None))
    .group_by(_r.job_seq)
    .subquery("numbers")
)
_FIRST = (
    select(_r.job_seq, _r.number, _r.priority)
    .join_from(_NUMBERS, schema.rows, _r.number == _NUMBERS.c.number)
    .where(_r.manifest_seq == bindparam("manifest_seq"))
    .subquery("named")
)
"""The first row that names each job: it decides the job's place in line."""
_RELIST = Statement(
    lambda _: (
        update(schema.jobs)
        .where(_j.seq == _FIRST.c.job_seq)
        .values(
            listed_in=bindparam("to_manifest"),
            position=_FIRST.c.number,
            priority=_FIRST.c.priority,
        )
    )
)
_SET_LISTED = Statement(lambda _: update(schema.manifests).where(_SEQ).values(listed=constant(1)))
_CHANGED = Statement(
    lambda _: (
        select(
            schema.manifest_files.c.path,
            *(func.coalesce(column, constant(0)) for column in (_f.size, _f.mtime_ns, _f.inode)),
        )
        .outerjoin_from(
            schema.manifest_files, schema.files, _f.path == schema.manifest_files.c.path
        )
        .where(schema.manifest_files.c.manifest_seq == bindparam("manifest_seq"))
    )
)


def _insert_job(d: Dialects) -> object:
    statement = insert_all(d, schema.jobs, but=("seq", *_JOB_DEFAULTS))
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "listed_in": new.listed_in,
            "position": new.position,
            "priority": new.priority,
            "control_path": new.control_path,
        },
        # Where this manifest has named it before, that row keeps its place in line.
        where=or_(_j.listed_in.is_(None), _j.listed_in != new.listed_in),
    )


_JOB_DEFAULTS = (
    "failure", "reason", "attempts_json", "predictions", "reseed", "not_before", "ended_at",
)  # fmt: skip
_INSERT_JOB = Statement(
    _insert_job,  # type: ignore[arg-type]
    order=(
        "id", "model", "input_json", "repeat", "outputs_wanted", "control_sha256", "control_path",
        "state", "listed_in", "priority", "position", "created_at",
    ),
)  # fmt: skip
_ROW_COLUMNS: tuple[str, ...] = (
    "manifest_seq", "number", "line", "user_id", "error", "priority", "meta_json", "axes_json",
)  # fmt: skip
_ROW_ORDER = (*_ROW_COLUMNS[:4], "job_id", *_ROW_COLUMNS[4:])
_INSERT_ROW = Statement(
    lambda d: d.insert(schema.rows).values(
        {
            **{name: bindparam(name) for name in _ROW_COLUMNS},
            "job_seq": select(_j.seq).where(_j.id == bindparam("job_id")).scalar_subquery(),
        }
    ),
    order=_ROW_ORDER,
)
_INSERT_NUMBERED_ROW = Statement(
    lambda d: insert_all(d, schema.rows),
    order=["job_seq" if name == "job_id" else name for name in _ROW_ORDER],
)
_HIGHEST_JOB = Statement(lambda _: select(func.coalesce(func.max(_j.seq), constant(0))))
_INSERT_MANIFEST_FILE = Statement(
    lambda d: insert_all(d, schema.manifest_files).on_conflict_do_nothing()
)


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """A manifest as the ledger has it."""

    seq: int
    imported: bool
    rows: int
    invalid_rows: int
    path: str | None = None
    """Where it lay when it was imported."""


@dataclass(frozen=True, slots=True)
class BeginImport:
    """Find the manifest, or start its import over; answers it as it was."""

    at: Timestamp
    identity: str
    path: str | None
    bytes: int
    model: str
    settings_json: str
    anew: bool = False
    """Import again though it was imported: a file it names has changed."""
    shuffle: int | None = None
    """The seed of its jobs' order; None: its own order."""

    def apply(self, db: Database) -> KnownManifest:
        db.take_time()
        found = db.run(_FIND, {"identity": self.identity})
        if found:
            ((seq, imported_at, listed, rows, invalid_rows, path, shuffle),) = found
            if imported_at is not None and not self.anew:
                if not listed:
                    self._list_again(db, seq)
                    shuffle = None
                if shuffle != self.shuffle:
                    reorder(db, seq, self.shuffle)
                return KnownManifest(seq, True, rows, invalid_rows, path)
            for statement in (_FORGET_ROWS, _FORGET_FILES, _UNLIST_JOBS, _START_OVER):
                names = {"now_at": self.path, "to_shuffle": self.shuffle}
                db.run(statement, {"manifest_seq": seq, **names})
        else:
            seq = self._insert(db)
        # From its first row on this import puts its mark on jobs that others have listed.
        db.run(_UNLIST)
        return KnownManifest(seq, imported=False, rows=0, invalid_rows=0)

    def _insert(self, db: Database) -> int:
        return db.insert(
            _INSERT,
            {
                "identity": self.identity,
                "path": self.path,
                "bytes": self.bytes,
                "model": self.model,
                "settings_json": self.settings_json,
                "first_seen_at": utc_text(self.at),
                "shuffle": self.shuffle,
            },
        )

    def _list_again(self, db: Database, seq: int) -> None:
        """Another manifest was run in between and has put its own mark on jobs they share."""
        db.run(_UNLIST)
        db.run(_UNLIST_JOBS, {"manifest_seq": seq})
        db.run(_RELIST, {"manifest_seq": seq, "to_manifest": seq})
        db.run(_SET_LISTED, {"manifest_seq": seq})


@dataclass(frozen=True, slots=True)
class ImportRows:
    """A batch of rows, and the jobs they name that are new."""

    at: Timestamp
    manifest_seq: int
    rows: Sequence[Row]
    shuffle: int | None = None
    """As given to its `BeginImport`."""

    def apply(self, db: Database) -> None:
        db.take_time()
        at, manifest_seq = utc_text(self.at), self.manifest_seq
        place = places(self.shuffle)
        jobs = [_job_values(row, manifest_seq, place, at) for row in self.rows if row.job]
        rows = [_row_values(row, manifest_seq) for row in self.rows]
        if db.name == "postgresql":
            insert_batch(db, jobs, rows)
        elif not self._all_new(db, jobs, rows):
            db.run_many(_INSERT_ROW, rows)
        paths = {row.control.path for row in self.rows if row.control}
        if paths:
            db.run_many(
                _INSERT_MANIFEST_FILE,
                [{"manifest_seq": self.manifest_seq, "path": path} for path in sorted(paths)],
            )

    def _all_new(self, db: Database, jobs: list[_Values], rows: list[_Values]) -> bool:
        """Insert *jobs*; and *rows* too, answering True, where it is sure what numbers they got.

        SQLite numbers a new job one above the highest, and a known one not at all; so numbers that
        rose by as many as there are jobs stand in their order. It spares each row a search.
        """
        numbered = len(jobs) == len(rows)
        before = _highest_job(db) if numbered else 0
        db.run_many(_INSERT_JOB, jobs)
        if not numbered or _highest_job(db) != before + len(jobs):
            return False
        at = _ROW_ORDER.index("job_id")
        db.run_many(
            _INSERT_NUMBERED_ROW,
            [(*row[:at], seq, *row[at + 1 :]) for seq, row in enumerate(rows, before + 1)],
        )
        return True


def _highest_job(db: Database) -> int:
    ((seq,),) = db.run(_HIGHEST_JOB)
    return int(seq)


@dataclass(frozen=True, slots=True)
class DropImport:
    """The manifest has bad rows: neither it nor the jobs it alone would have made stay."""

    manifest_seq: int

    def apply(self, db: Database) -> None:
        for statement in (_FORGET_ROWS, _FORGET_FILES, _DROP_JOBS, _UNLIST_JOBS, _DROP):
            db.run(statement, {"manifest_seq": self.manifest_seq})


@dataclass(frozen=True, slots=True)
class FinishImport:
    """Every row is in: from here on the manifest counts as seen."""

    at: Timestamp
    manifest_seq: int
    rows: int
    invalid_rows: int

    def apply(self, db: Database) -> None:
        db.run(
            _FINISH,
            {
                "manifest_seq": self.manifest_seq,
                "at": utc_text(self.at),
                "row_count": self.rows,
                "invalid_count": self.invalid_rows,
            },
        )


def files_of(db: Database, manifest_seq: int) -> list[tuple[str, int, int, int]]:
    """(path, size, mtime_ns, inode) of every local file the manifest named at its import.

    Zeros where the hash was not kept, because the file was too fresh to be sure of its time.
    """
    return [
        (path, size, mtime_ns, inode)
        for path, size, mtime_ns, inode in db.run(_CHANGED, {"manifest_seq": manifest_seq})
    ]


def _job_values(row: Row, manifest_seq: int, place: Callable[[int], int], at: str) -> _Values:
    """In the order of `_INSERT_JOB`."""
    job, control = row.job, row.control
    assert job is not None
    return (
        job.job_id,
        job.model,
        job.input_json or canonical_json(job.input).decode(),
        job.repeat,
        job.outputs_wanted,
        control and control.sha256,
        control and control.path,
        _PENDING,
        manifest_seq,
        row.priority,
        place(row.number),
        at,
    )


def _row_values(row: Row, manifest_seq: int) -> _Values:
    """In the order of `_INSERT_ROW`."""
    number, line, user_id, meta, job, _, error, priority, axes = row
    return (
        manifest_seq,
        number,
        line,
        user_id and clean(user_id),
        job and job.job_id,
        error and clean(error),
        priority,
        _json_text(meta) if meta else None,
        _json_text(axes) if axes else None,
    )


def _json_text(value: Mapping[str, object]) -> str | None:
    return clean(_encode(value))
