"""The ratings of a dataset's images: keep, reject, stars and a note, with who gave them and when.

Owns what a rating is, and `ratings.sqlite` beside the ledger, a file of its own: people judge while
a run is at work, and the ledger has one writer. A rating belongs to an image's bytes
(`outputs.sha256`, as delivered), so it outlives a move of the files and a ledger that is written
anew. Nothing is overwritten: each change is a line, an undone change stays with the moment of its
undoing.
Source: docs/guide/live-page.md.
"""

from __future__ import annotations

import getpass
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.sink import refuse_link

MOST_STARS = 5
MOST_NOTE_CHARS = 2_000
_BUSY_S = 10.0
_TABLE = """CREATE TABLE IF NOT EXISTS rating_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, at TEXT NOT NULL,
    who TEXT NOT NULL, sha256 TEXT NOT NULL, rating TEXT, stars INTEGER, note TEXT, undone_at TEXT
)"""
_INDEX = "CREATE INDEX IF NOT EXISTS rating_changes_sha256 ON rating_changes (sha256, seq)"
_NOW = """SELECT sha256, rating, stars, note, who, at, max(seq) FROM rating_changes
    WHERE undone_at IS NULL GROUP BY sha256"""


class Verdict(StrEnum):
    """What is to become of an image."""

    KEEP = "keep"
    REJECT = "reject"


class ImageRating(NamedTuple):
    """What was last said of an image."""

    verdict: Verdict | None = None
    stars: int | None = None
    """From 1 to 5."""
    note: str | None = None
    who: str = ""
    at: str = ""

    def as_fields(self) -> dict[str, Any]:
        """Under the names that a filter knows."""
        verdict = self.verdict.value if self.verdict is not None else None
        return {"rating": verdict, "stars": self.stars, "rating_note": self.note}


@dataclass(frozen=True, slots=True)
class RatingChange:
    """What is said anew; what is None stays as it was."""

    verdict: Verdict | None = None
    stars: int | None = None
    note: str | None = None
    clears: bool = False
    """Verdict and stars are taken back first."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for what is no rating."""
        if self.stars is not None and not 1 <= self.stars <= MOST_STARS:
            raise ConfigError(f"{self.stars} stars: there are 1 to {MOST_STARS}")
        if self.note is not None and len(self.note) > MOST_NOTE_CHARS:
            raise ConfigError(f"a note has at most {MOST_NOTE_CHARS:,} characters")

    def after(self, was: ImageRating) -> tuple[str | None, int | None, str | None]:
        """Verdict, stars and note once it is made; an empty note is none."""
        verdict, stars, note = was.verdict, was.stars, was.note
        if self.clears:
            verdict = stars = None
        note = note if self.note is None else self.note or None
        return self.verdict or verdict, self.stars or stars, note


def parse_rating(said: str, note: str = "") -> RatingChange:
    """What `keep`, `reject`, `none` or a number of stars asks for; raise `ConfigError` else."""
    words = note or None
    if said == "none":
        return RatingChange(note=words, clears=True)
    if said in list(Verdict):
        return RatingChange(Verdict(said), note=words)
    if said.isdecimal() and len(said) == 1:
        return RatingChange(stars=int(said), note=words)
    raise ConfigError(f"{said!r} is no rating: keep, reject, none, or 1 to {MOST_STARS} stars")


class RatingFile:
    """The ratings of one dataset in a folder; each call opens the file and leaves it closed."""

    def __init__(self, folder: Folder) -> None:
        self.path = Path(folder.root) / "ratings.sqlite"

    def revision(self, _: Database, /) -> int:
        """Changes with every change, from whatever process."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def read(self) -> dict[str, ImageRating]:
        """By the sha256 of an image. Raises `SinkError` where the file cannot be read."""
        if not self.path.exists():
            return {}
        with self._open("ro") as db:
            if not _has_any(db):
                return {}
            return {
                sha256: ImageRating(Verdict(verdict) if verdict else None, stars, note, who, at)
                for sha256, verdict, stars, note, who, at, _ in db.execute(_NOW)
            }

    def rate(self, images: Iterable[str], change: RatingChange, who: str = "") -> int:
        """Make *change* to *images* (their sha256), as one that `undo` takes back whole; answers
        how many are not rated as before. Raises `SinkError` where the disk fails."""
        at = utc_text(SystemClock().now())
        changed = 0
        with self._open("rwc") as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_TABLE)
            db.execute(_INDEX)
            ((batch,),) = db.execute("SELECT coalesce(max(batch), 0) + 1 FROM rating_changes")
            for sha256 in dict.fromkeys(images):
                was = _last(db, sha256)
                now = change.after(was)
                if now == (was.verdict, was.stars, was.note):
                    continue
                db.execute(
                    "INSERT INTO rating_changes (batch, at, who, sha256, rating, stars, note)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (batch, at, who or rater(), sha256, *now),
                )
                changed += 1
            db.execute("COMMIT")
        return changed

    def undo(self) -> list[str]:
        """Take the latest change back; answers whose (sha256). Empty where none is left."""
        if not self.path.exists():
            return []
        at = utc_text(SystemClock().now())
        with self._open("rw") as db:
            db.execute("BEGIN IMMEDIATE")
            if not _has_any(db):
                return []
            undone = [
                sha256
                for (sha256,) in db.execute(
                    "UPDATE rating_changes SET undone_at = ? WHERE undone_at IS NULL AND batch ="
                    " (SELECT max(batch) FROM rating_changes WHERE undone_at IS NULL)"
                    " RETURNING sha256",
                    (at,),
                )
            ]
            db.execute("COMMIT")
        return undone

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        refuse_link(str(self.path))
        try:
            db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=_BUSY_S,
            )
            try:
                yield db
            finally:
                db.close()
        except sqlite3.Error as exc:
            raise SinkError(f"the ratings {str(self.path)!r} failed: {exc}") from exc


def _has_any(db: sqlite3.Connection) -> bool:
    """Whether anything was ever committed: the file is there a moment before its table is."""
    found = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'rating_changes'")
    return bool(found.fetchone()[0])


def _last(db: sqlite3.Connection, sha256: str) -> ImageRating:
    found = db.execute(
        "SELECT rating, stars, note FROM rating_changes"
        " WHERE sha256 = ? AND undone_at IS NULL ORDER BY seq DESC LIMIT 1",
        (sha256,),
    ).fetchone()
    if found is None:
        return ImageRating()
    verdict, stars, note = found
    return ImageRating(Verdict(verdict) if verdict else None, stars, note)


def with_rating(record: Mapping[str, Any], ratings: Mapping[str, ImageRating]) -> Mapping[str, Any]:
    """*record* (a line of an export) with the fields of its image's rating, for a filter."""
    rated = ratings.get(record["sha256"]) if ratings else None
    return record if rated is None else {**record, **rated.as_fields()}


def rater() -> str:
    """Who is at work: a user's name on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
