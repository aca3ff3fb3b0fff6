"""The ratings of a dataset in PostgreSQL: a table beside its ledger's, for whoever may write there.

Owns the statements. One changes them at a time; a run is not disturbed, for the ledger's turn is
had no longer than connecting takes. Source: docs/guide/live-page.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

from fluxbatch.dataset.ratings import ImageRating, RatingChange, Verdict, rater
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import clean, postgres_statement
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.sharing.side_connection import SideConnection

_T = TypeVar("_T")

_HAS_TABLE = postgres_statement("SELECT to_regclass('rating_changes') IS NOT NULL")
_LATEST = "SELECT DISTINCT ON (sha256) sha256, rating, stars, note, who, at FROM rating_changes"
_READ = postgres_statement(f"{_LATEST} WHERE undone_at IS NULL ORDER BY sha256, seq DESC")
_READ_THESE = postgres_statement(
    f"""
    {_LATEST} WHERE undone_at IS NULL
        AND sha256 IN (SELECT json_array_elements_text(CAST(:images AS json)))
    ORDER BY sha256, seq DESC
    """
)
_REVISION = postgres_statement(
    "SELECT greatest(max(seq), (SELECT max(undone_seq) FROM rating_changes), 0) FROM rating_changes"
)
_ALONE = postgres_statement("LOCK TABLE rating_changes IN SHARE ROW EXCLUSIVE MODE")
"""Who only reads does not wait for it."""
_NOW = postgres_statement("SELECT clock_timestamp()")
_ADD = postgres_statement(
    """
    INSERT INTO rating_changes (batch, at, who, sha256, rating, stars, note)
    SELECT (SELECT coalesce(max(batch), 0) + 1 FROM rating_changes), :at, :who,
        sha256, rating, stars, note
    FROM json_to_recordset(CAST(:changes AS json))
        AS changes (sha256 text, rating text, stars integer, note text)
    """
)
_UNDO = postgres_statement(
    """
    UPDATE rating_changes SET undone_at = :at,
        undone_seq = nextval(pg_get_serial_sequence('rating_changes', 'seq'))
    WHERE undone_at IS NULL
        AND batch = (SELECT max(batch) FROM rating_changes WHERE undone_at IS NULL)
    RETURNING sha256
    """
)


class SharedRatings:
    """The ratings of one dataset, as `RatingFile` has them; each call makes a connection.

    Raises `LedgerError` where the server refuses or cannot be reached.
    """

    def __init__(self, dataset: SharedDataset) -> None:
        self._dataset = dataset

    def revision(self, db: Database) -> int:
        """Changes with every change, from whatever machine."""
        return int(db.run(_REVISION)[0][0]) if _has_ratings(db) else 0

    def read(self) -> dict[str, ImageRating]:
        """By the sha256 of an image."""
        with self._dataset.reader() as db:
            return _ratings(db.run(_READ)) if _has_ratings(db) else {}

    def rate(self, images: Iterable[str], change: RatingChange, who: str = "") -> int:
        """Make *change* to *images* (their sha256), as one that `undo` takes back whole; answers
        how many are not rated as before."""
        named, change = list(dict.fromkeys(images)), replace(change, note=clean(change.note))

        def rated(db: Database, at: str) -> int:
            before = _ratings(db.run(_READ_THESE, {"images": json.dumps(named)}))
            changes = []
            for sha256 in named:
                was = before.get(sha256, ImageRating())
                now = change.after(was)
                if now != (was.verdict, was.stars, was.note):
                    changes.append(dict(zip(_FIELDS, (sha256, *now), strict=True)))
            if changes:
                author = clean(who or rater())
                db.run(_ADD, {"at": at, "who": author, "changes": json.dumps(changes)})
            return len(changes)

        return self._change(rated)

    def undo(self) -> list[str]:
        """Take the latest change back; answers whose (sha256). Empty where none is left."""
        return self._change(lambda db, at: [sha256 for (sha256,) in db.run(_UNDO, {"at": at})])

    def _change(self, change: Callable[[Database, str], _T]) -> _T:
        def changed(db: Database) -> _T:
            db.run(_ALONE)
            db.take_time()  # all images of a dataset may be judged at once
            ((now,),) = db.run(_NOW)
            return change(db, utc_text(now))

        with closing(self._dataset.writer()) as db:
            return SideConnection(db).transaction(changed)


_FIELDS = ("sha256", "rating", "stars", "note")


def _has_ratings(db: Database) -> bool:
    """A dataset that no run of this version has opened has no table of them."""
    return bool(db.run(_HAS_TABLE)[0][0])


def _ratings(rows: Iterable[tuple[Any, ...]]) -> dict[str, ImageRating]:
    return {
        sha256: ImageRating(Verdict(verdict) if verdict else None, stars, note, who, at)
        for sha256, verdict, stars, note, who, at in rows
    }
