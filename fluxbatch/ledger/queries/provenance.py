"""The provenance of a prediction's outputs in one statement, for file names and sidecars.

Owns no state and changes none.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, distinct, func, select

from fluxbatch.domain.job import OutputState
from fluxbatch.domain.provenance import Delivered, Provenance
from fluxbatch.infra.redaction import strip_queries
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import KeyedQuery, Rows
from fluxbatch.ledger.db.sql import Dialects, Statement, among, constant
from fluxbatch.ledger.queries.rerolled_jobs import REROLLS_SINCE

_j, _p, _o, _r = schema.jobs.c, schema.predictions.c, schema.outputs.c, schema.rows.c
_u, _rr = schema.runs.c, schema.rerolls.c
_origin = schema.jobs.alias("origin")
_earlier = schema.outputs.alias("earlier")
_before = _earlier.c

_any_row = schema.rows.alias("any_row").c


def _made(d: Dialects, *, with_rerolls: bool) -> Select[Any]:
    known = (
        _p.seq,
        _j.id, _j.model, _j.input_json, _j.repeat, _j.control_sha256, _p.provider_id, _p.seed,
        _u.id, _p.intended_at, _r.number, _r.user_id, _r.axes_json, _p.adopted,
        select(func.count(distinct(_before.prediction_seq)))
        .where(_before.job_seq == _p.job_seq)
        .scalar_subquery(),
    )  # fmt: skip
    rerolled = (_origin.c.id, _rr.number, _rr.row_number) if with_rerolls else ()
    made = (
        select(*known, *rerolled)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .join(schema.runs, _u.seq == _p.run_seq)
        .outerjoin(
            schema.rows,
            and_(
                _r.manifest_seq == _j.listed_in,
                _r.number
                == select(func.min(_any_row.number))
                .where(_any_row.job_seq == _j.seq, _any_row.manifest_seq == _j.listed_in)
                .scalar_subquery(),
            ),
        )
        .where(among(d, _p.seq))
    )
    if not with_rerolls:
        return made
    return made.outerjoin(schema.rerolls, _rr.job_seq == _p.job_seq).outerjoin(
        _origin, _origin.c.seq == _rr.of_job_seq
    )


_MADE = KeyedQuery(lambda d: _made(d, with_rerolls=True))
_MADE_WITHOUT_REROLLS = KeyedQuery(lambda d: _made(d, with_rerolls=False))
"""In a ledger of before there were any."""
_EDITION = Statement(
    lambda _: (
        select(func.count(distinct(_before.prediction_seq)))
        .join_from(schema.outputs, _earlier, _before.job_seq == _o.job_seq)
        .where(
            _o.prediction_seq == bindparam("prediction_seq"),
            _before.prediction_seq != _o.prediction_seq,
            _before.seq < _o.seq,
        )
    )
)
_STORED = Statement(
    lambda _: (
        select(
            _o.seq, _o.prediction_seq, _o.number, _o.path, _j.id, _o.file_sha256, _o.sha256,
            _o.bytes, _o.mime, _o.width, _o.height, _o.stored_at,
        )
        .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
        .where(_o.state == constant(OutputState.STORED), _o.seq > bindparam("after"))
        .order_by(_o.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)  # fmt: skip


def expect_provenance(rows: Rows, prediction_seq: int) -> None:
    """`provenance_of` is going to be asked for."""
    rows.expect(_MADE, prediction_seq)


def provenance_of(db: Database, prediction_seq: int, edition: int | None) -> Provenance:
    """What is known of the prediction's outputs; *edition* as `want_outputs` answered it, None: it
    is about to name them."""
    query = _MADE if db.version >= REROLLS_SINCE else _MADE_WITHOUT_REROLLS
    ((_, job, model, given, repeat, control, provider_id, seed, *more),) = db.rows.of(
        query, prediction_seq
    )
    run, at, row, row_id, axes, adopted, named_before, *rerolled = more
    origin, reroll, origins_row = rerolled or (None, None, None)
    return Provenance(
        bytes(job).hex(),
        named_before if edition is None else edition,
        model,
        strip_queries(json.loads(given)),
        repeat,
        control,
        provider_id,
        seed,
        run,
        at,
        row if origin is None else origins_row,
        row_id,
        strip_queries(json.loads(axes)) if axes else {},
        adopted,
        reroll or 0,
        None if origin is None else bytes(origin).hex(),
    )


def edition_of(db: Database, prediction_seq: int) -> int:
    """How many predictions of its job had named their outputs before it."""
    ((edition,),) = db.run(_EDITION, {"prediction_seq": prediction_seq})
    return int(edition)


class StoredImage(NamedTuple):
    """An image, and what its sidecar must say to be its own."""

    seq: int
    prediction_seq: int
    number: int
    path: str
    job: str
    is_embedded: bool
    """It carries its facts itself."""
    image: Delivered


def stored_images(db: Database, after: int, most: int) -> list[StoredImage]:
    """Stored outputs, in the order of their numbers, from the one after *after*."""
    return [
        StoredImage(
            seq, prediction, number, path, bytes(job).hex(), embedded is not None, Delivered(*image)
        )
        for seq, prediction, number, path, job, embedded, *image in db.run(
            _STORED, {"after": after, "most": most}
        )
    ]
