"""The append-only record of every change, written in the change's own transaction.

Owns the `history` table. A line says what changed from what to what, at which
event and why; nothing ever reads it to decide. A job is born pending and an output
wanted, without a line: a million rows are imported in half the time.
"""

from __future__ import annotations

from typing import Literal

from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import row_insert
from fluxbatch.ledger.db.sql import clean

Subject = Literal["run", "job", "prediction", "output"]

_APPEND = row_insert(
    schema.history,
    ("at", "subject", "subject_seq", "job_seq", "run_seq", "was", "became", "event", "reason",
     "request_id"),
)  # fmt: skip


def append(
    db: Database,
    subject: tuple[Subject, int],
    event: str,
    *,
    at: str,
    change: tuple[str | None, str | None],
    job_seq: int | None = None,
    run_seq: int | None = None,
    reason: str | None = None,
    request_id: str | None = None,
) -> None:
    """One line: *change* is (was, became)."""
    was, became = change
    db.rows.write_last(
        _APPEND,
        {
            "at": at,
            "subject": subject[0],
            "subject_seq": subject[1],
            "job_seq": job_seq,
            "run_seq": run_seq,
            "was": was and str(was),
            "became": became and str(became),
            "event": str(event),
            "reason": clean(reason),
            "request_id": clean(request_id),
        },
    )
