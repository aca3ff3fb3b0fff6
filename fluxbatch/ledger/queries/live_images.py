"""The images of a live page: which there are, newest first, and what is known of one.

Owns no state and changes none; runs on a reader's own connection. Money is micro-dollars.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, exists, func, or_, select

from fluxbatch.domain.job import OutputState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.queries.rerolled_jobs import reroll_origin

_r, _j, _o = schema.rows.c, schema.jobs.c, schema.outputs.c
_p, _h = schema.predictions.c, schema.history.c


class LiveImage(NamedTuple):
    """A stored image with its job, its first row and the prediction that made it."""

    seq: int
    job_seq: int
    job_id: bytes
    path: str
    sha256: str
    mime: str
    width: int
    height: int
    bytes: int
    quality_json: str | None
    stored_at: str | None
    seed: int | None
    cost: int | None
    attempt: int
    input_json: str
    control_sha256: str | None
    control_path: str | None
    number: int | None
    user_id: str | None
    axes_json: str | None
    reroll: int = 0
    """Which of its row's rerolls its job is, from 1; 0: the row's own."""


_IS_STORED = _o.state == constant(OutputState.STORED)
_NEWEST = Statement(
    lambda _: (
        select(_o.seq, _o.sha256)
        .where(_IS_STORED, _o.seq > bindparam("after"))
        .order_by(_o.seq.desc())
    )
)
_NAMED = (_r.job_seq == _j.seq) & (_r.manifest_seq == _j.listed_in)
_FOUND = Statement(
    lambda _: (
        select(_o.seq, _o.sha256)
        .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
        .where(
            _IS_STORED,
            _o.seq > bindparam("after"),
            or_(
                func.lower(_j.input_json).like(bindparam("text"), escape="\\"),
                exists().where(_NAMED, func.lower(_r.user_id).like(bindparam("text"), escape="\\")),
            ),
        )
        .order_by(_o.seq.desc())
    )
)
_ONE = Statement(
    lambda _: (
        select(
            _o.seq, _j.seq, _j.id, _o.path, _o.sha256, _o.mime, _o.width, _o.height, _o.bytes,
            _o.quality_json, _o.stored_at, _p.seed, _p.cost, _p.attempt, _j.input_json,
            _j.control_sha256, _j.control_path, _r.number, _r.user_id, _r.axes_json,
        )
        .select_from(
            schema.outputs.join(schema.predictions, _p.seq == _o.prediction_seq)
            .join(schema.jobs, _j.seq == _o.job_seq)
            .outerjoin(schema.rows, _NAMED)
        )
        .where(_o.seq == bindparam("seq"), _IS_STORED)
        .order_by(_r.number)
        .limit(constant(1))
        .offset(constant(0))
    )
)  # fmt: skip
_HASH = Statement(lambda _: select(_o.sha256).where(_o.seq == bindparam("seq"), _IS_STORED))
_OF_JOB = Statement(
    lambda _: (
        select(_o.seq, _o.sha256)
        .where(_o.job_seq == bindparam("job_seq"), _IS_STORED)
        .order_by(_o.seq)
    )
)
_LATEST = (
    select(_o.path, _j.input_json)
    .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
    .where(_IS_STORED)
    .order_by(_o.seq.desc())
    .limit(bindparam("most"))
    .offset(constant(0))
)
_LATEST_IMAGES = Statement(lambda _: _LATEST)
_LATEST_OF_RUN = Statement(
    lambda _: (
        _LATEST.join(schema.predictions, _p.seq == _o.prediction_seq)
        .join(schema.runs, schema.runs.c.seq == _p.run_seq)
        .where(schema.runs.c.id == bindparam("run_id"))
    )
)
_REVISION = Statement(lambda _: select(func.coalesce(func.max(_h.seq), constant(0))))


def newest_images(db: Database, after: int = 0, text: str = "") -> list[tuple[int, str]]:
    """(number, sha256) of the stored outputs numbered above *after*, newest first; only those
    whose input or row's id has *text* in it, whatever the case."""
    if not text:
        return [(seq, sha256) for seq, sha256 in db.run(_NEWEST, {"after": after})]
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    found = db.run(_FOUND, {"after": after, "text": f"%{text.lower()}%"})
    return [(seq, sha256) for seq, sha256 in found]


def live_image(db: Database, seq: int) -> LiveImage | None:
    """None where no stored output has that number."""
    found = db.run(_ONE, {"seq": seq})
    if not found:
        return None
    image = LiveImage(*found[0])
    origin = reroll_origin(db, image.job_seq)
    if origin is None:
        return image
    return image._replace(number=origin.row_number, reroll=origin.number)


def latest_pictures(db: Database, most: int, run_id: str | None = None) -> list[tuple[str, str]]:
    """(path, prompt) of what was wanted last and is stored, newest first; of one run or of all."""
    found = (
        db.run(_LATEST_IMAGES, {"most": most})
        if run_id is None
        else db.run(_LATEST_OF_RUN, {"most": most, "run_id": run_id})
    )
    return [(path, str(json.loads(given).get("prompt", ""))) for path, given in found]


def image_hashes(db: Database, seqs: Sequence[int]) -> list[str]:
    """The sha256 of each stored output of *seqs* that there is."""
    return [sha256 for seq in seqs for (sha256,) in db.run(_HASH, {"seq": seq})]


def images_of_job(db: Database, job_seq: int) -> list[tuple[int, str]]:
    """(number, sha256) of the job's stored outputs, oldest first."""
    return [(seq, sha256) for seq, sha256 in db.run(_OF_JOB, {"job_seq": job_seq})]


def ledger_revision(db: Database) -> int:
    """Grows with every change that has a line of history; read from the end of an index."""
    ((revision,),) = db.run(_REVISION)
    return int(revision)
