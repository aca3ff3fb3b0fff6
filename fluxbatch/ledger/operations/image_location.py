"""The location of a dataset's images, as its ledger remembers it.

Owns that record, and that it does not change once there are images. Opens no store.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from fluxbatch.domain.job import OutputState
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_v, _o = schema.ledger_version.c, schema.outputs.c
_SINCE = 3
"""The schema's version that brought the column."""
_READ = Statement(lambda _: select(_v.image_store))
_KEEP = Statement(
    lambda _: update(schema.ledger_version).values(image_store=bindparam("to_image_store"))
)
_ANY = Statement(
    lambda _: (
        select(_o.seq)
        .where(_o.state == constant(OutputState.STORED))
        .limit(constant(1))
        .offset(constant(0))
    )
)


def image_store(db: Database) -> str | None:
    """The URL that the paths of outputs begin at; None: the dataset's folder."""
    if db.version < _SINCE:
        return None
    ((url,),) = db.run(_READ)
    return url  # type: ignore[no-any-return]


def check_image_store(db: Database, url: str | None) -> bool:
    """Whether *url* is news; raise `ConfigError` where images are stored elsewhere."""
    before = image_store(db)
    if before == url:
        return False
    if db.run(_ANY):
        there = repr(before) if before is not None else "its own folder"
        remedy = f"set sink.store to {before!r}" if before is not None else "leave sink.store out"
        named = f"sink.store names {url!r}" if url is not None else "sink.store names no store"
        raise ConfigError(
            f"the images of this dataset are in {there}, and {named}: {remedy}, or begin another"
            " dataset (--out)"
        )
    return True


@dataclass(frozen=True, slots=True)
class KeepImagesAt:
    """Images are stored at *url* from now on; there is none yet. Raises `ConfigError` else."""

    url: str | None

    def apply(self, db: Database) -> None:
        if check_image_store(db, self.url):
            db.run(_KEEP, {"to_image_store": self.url})
