"""Uploaded control images and the hashes of local files.

Owns `uploads` (one line per content, good until it expires) and `files` (one line
per path, good while size, time and inode stay). Only public URLs are kept, never
the presigned one an upload was sent to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select, update

from fluxbatch.domain.job import LIVE, JobState
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Dialects, Statement, insert_all, one_of
from fluxbatch.ledger.db.timestamps import parse_utc, utc_text

_u, _f, _j, _p = schema.uploads.c, schema.files.c, schema.jobs.c, schema.predictions.c
_NEEDS_IT = (JobState.PENDING, JobState.ACTIVE)
_FIND = Statement(lambda _: select(_u.url, _u.expires_at).where(_u.sha256 == bindparam("sha256")))


def _replace(d: Dialects, table: str, key: str) -> object:
    statement = insert_all(d, schema.metadata.tables[table])
    names = [c.name for c in schema.metadata.tables[table].columns if c.name != key]
    return statement.on_conflict_do_update(
        index_elements=[key], set_={name: statement.excluded[name] for name in names}
    )


_RECORD = Statement(lambda d: _replace(d, "uploads", "sha256"))  # type: ignore[arg-type, return-value]
_REMEMBER = Statement(lambda d: _replace(d, "files", "path"))  # type: ignore[arg-type, return-value]
_FILE = Statement(
    lambda _: select(_f.size, _f.mtime_ns, _f.inode, _f.sha256, _f.mime).where(
        _f.path == bindparam("path")
    )
)
_UNUSED = Statement(
    lambda _: (
        select(_u.sha256, _u.file_id, _u.url, _u.bytes, _u.key_fingerprint)
        .where(
            _u.file_id.is_not(None),
            # Each list is read once; asked for each upload anew, a million jobs would be.
            _u.sha256.not_in(
                select(_j.control_sha256).where(
                    _j.control_sha256.is_not(None), one_of(_j.state, _NEEDS_IT)
                )
            ),
            _u.url.not_in(
                select(_p.control_url).where(_p.control_url.is_not(None), one_of(_p.state, LIVE))
            ),
        )
        .order_by(_u.sha256)
    )
)
_COUNT = Statement(lambda _: select(func.count()).select_from(schema.uploads))
_RETIRE = Statement(
    lambda _: (
        update(schema.uploads)
        .where(_u.sha256 == bindparam("content"))
        .values(expires_at=bindparam("at"))
    )
)
_FORGET = Statement(
    lambda _: delete(schema.uploads).where(
        _u.sha256 == bindparam("content"), _u.file_id == bindparam("deleted")
    )
)


@dataclass(frozen=True, slots=True)
class KnownUpload:
    """Where a content can be reached, and until when (None: for ever)."""

    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecordUpload:
    """A content was uploaded; an older line of it is replaced."""

    at: Timestamp
    sha256: str
    file_id: str | None
    url: str
    bytes: int
    mime: str
    key_fingerprint: str
    expires_at: datetime | None

    def apply(self, db: Database) -> None:
        db.run(
            _RECORD,
            {
                "sha256": self.sha256,
                "file_id": self.file_id,
                "url": self.url,
                "bytes": self.bytes,
                "mime": self.mime,
                "key_fingerprint": self.key_fingerprint,
                "uploaded_at": utc_text(self.at),
                "expires_at": self.expires_at and utc_text(self.expires_at),
                "used_at": utc_text(self.at),
            },
        )


@dataclass(frozen=True, slots=True)
class StoredFileHash:
    """A local file's content as it was at this size, time and inode."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    mime: str


@dataclass(frozen=True, slots=True)
class RememberFiles:
    """Hashes worth keeping for the next run."""

    files: tuple[StoredFileHash, ...]

    def apply(self, db: Database) -> None:
        db.run_many(
            _REMEMBER,
            [{name: getattr(f, name) for name in StoredFileHash.__slots__} for f in self.files],
        )


@dataclass(frozen=True, slots=True)
class UnusedUpload:
    """An upload that neither a pending nor an active job needs."""

    sha256: str
    file_id: str
    url: str
    bytes: int
    key_fingerprint: str


@dataclass(frozen=True, slots=True)
class RetireUpload:
    """From now on the upload's address is good for nothing more: whoever needs it uploads anew."""

    at: Timestamp
    sha256: str

    def apply(self, db: Database) -> None:
        db.run(_RETIRE, {"content": self.sha256, "at": utc_text(self.at)})


@dataclass(frozen=True, slots=True)
class ForgetUpload:
    """The provider has deleted the file; another upload of the same content stays."""

    sha256: str
    file_id: str

    def apply(self, db: Database) -> None:
        db.run(_FORGET, {"content": self.sha256, "deleted": self.file_id})


def unused_uploads(db: Database) -> list[UnusedUpload]:
    """Every upload that no job waits for and no prediction that may be alive was sent."""
    return [UnusedUpload(*record) for record in db.run(_UNUSED)]


def count_uploads(db: Database) -> int:
    ((number,),) = db.run(_COUNT)
    return int(number)


def find_upload(db: Database, sha256: str) -> KnownUpload | None:
    found = db.run(_FIND, {"sha256": sha256})
    if not found:
        return None
    ((url, expires_at),) = found
    return KnownUpload(url, parse_utc(expires_at) if expires_at else None)


def find_file(db: Database, path: str) -> StoredFileHash | None:
    found = db.run(_FILE, {"path": path})
    return StoredFileHash(path, *found[0]) if found else None
