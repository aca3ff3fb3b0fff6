"""The import of rows into PostgreSQL by whole columns: one statement for a batch.

Owns the two statements. Row by row, most of an import's time is the way to the server and back;
`COPY` would need a table of its own beside, for it takes no row that is there already.
What becomes of a job that is named twice, or is known already, is as in `manifest_import`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import postgres_statement

JOB_COLUMNS = {
    "id": "bytea",
    "model": "text",
    "input_json": "text",
    "repeat": "integer",
    "outputs_wanted": "integer",
    "control_sha256": "text",
    "control_path": "text",
    "state": "text",
    "listed_in": "bigint",
    "priority": "integer",
    "position": "bigint",
    "created_at": "text",
}
ROW_COLUMNS = {
    "manifest_seq": "bigint",
    "number": "bigint",
    "line": "bigint",
    "user_id": "text",
    "job_id": "bytea",
    "error": "text",
    "priority": "integer",
    "meta_json": "text",
    "axes_json": "text",
}
"""The columns of a batch, in the order in which their values come."""


def _arrays(columns: dict[str, str]) -> str:
    return ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())


_JOB_NAMES = ", ".join(JOB_COLUMNS)
_INSERT_JOBS = postgres_statement(
    f"""
        INSERT INTO jobs ({_JOB_NAMES})
        SELECT {_JOB_NAMES} FROM (
            SELECT DISTINCT ON (id) *
            FROM unnest({_arrays(JOB_COLUMNS)}) WITH ORDINALITY AS named ({_JOB_NAMES}, place)
            ORDER BY id, place
        ) AS new
        ORDER BY place
        ON CONFLICT (id) DO UPDATE SET listed_in = excluded.listed_in,
            position = excluded.position, priority = excluded.priority,
            control_path = excluded.control_path
        WHERE jobs.listed_in IS NULL OR jobs.listed_in <> excluded.listed_in
        """
)
_INSERT_ROWS = postgres_statement(
    f"""
        INSERT INTO rows (manifest_seq, number, line, user_id, job_seq, error, priority,
            meta_json, axes_json)
        SELECT new.manifest_seq, new.number, new.line, new.user_id,
            (SELECT jobs.seq FROM jobs WHERE jobs.id = new.job_id), new.error,
            new.priority, new.meta_json, new.axes_json
        FROM unnest({_arrays(ROW_COLUMNS)}) AS new ({", ".join(ROW_COLUMNS)})
        """
)
"""Each job is looked up by its index: a join reads all jobs for each batch, where the server does
not know yet how many there are."""


def insert_batch(
    db: Database, jobs: Sequence[tuple[Any, ...]], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert *jobs* that are new, and *rows*, each in the order of its columns."""
    if jobs:
        db.run(_INSERT_JOBS, _by_column(JOB_COLUMNS, jobs))
    if rows:
        db.run(_INSERT_ROWS, _by_column(ROW_COLUMNS, rows))


def _by_column(columns: dict[str, str], batch: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {
        name: list(values) for name, values in zip(columns, zip(*batch, strict=True), strict=True)
    }
