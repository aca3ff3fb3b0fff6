"""Models as the provider described them, with the time of that.

Owns the `models` table. The model cards say what a description means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select

from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Dialects, Statement, clean, constant, insert_all
from fluxbatch.ledger.db.timestamps import parse_utc, utc_text

_m, _p, _j = schema.models.c, schema.predictions.c, schema.jobs.c
_COLUMNS = (
    _m.slug, _m.title, _m.output_type, _m.request_schema_json, _m.told_price, _m.fetched_at,
)  # fmt: skip
_FIND = Statement(lambda _: select(*_COLUMNS).where(_m.slug == bindparam("slug")))
_ALL = Statement(lambda _: select(*_COLUMNS).order_by(_m.slug))
_SINCE = 2
"""The schema's version that brought the table."""


def _replace(d: Dialects) -> object:
    statement = insert_all(d, schema.models)
    names = [column.name for column in schema.models.columns if column.name != "slug"]
    return statement.on_conflict_do_update(
        index_elements=["slug"], set_={name: statement.excluded[name] for name in names}
    )


_KEEP = Statement(_replace)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model's description, and when the provider gave it."""

    slug: str
    title: str
    output_type: str
    request_schema: Mapping[str, Any]
    told_price: Micros | None
    fetched: datetime


@dataclass(frozen=True, slots=True)
class KeepModel:
    """The provider described a model; an older description of it is replaced."""

    model: KeptModel

    def apply(self, db: Database) -> None:
        model = self.model
        db.run(
            _KEEP,
            {
                "slug": model.slug,
                "title": clean(model.title),
                "output_type": clean(model.output_type),
                "request_schema_json": json.dumps(model.request_schema),
                "told_price": model.told_price,
                "fetched_at": utc_text(model.fetched),
            },
        )


def find_model(db: Database, slug: str) -> KeptModel | None:
    """The description that is kept; None also in a ledger older than the table."""
    if db.version < _SINCE:
        return None
    found = db.run(_FIND, {"slug": slug})
    return _kept(found[0]) if found else None


def kept_models(db: Database) -> list[KeptModel]:
    """Every description that is kept."""
    return [_kept(record) for record in db.run(_ALL)] if db.version >= _SINCE else []


def _kept(record: tuple[Any, ...]) -> KeptModel:
    slug, title, output_type, schema, told_price, fetched_at = record
    return KeptModel(
        slug, title, output_type, json.loads(schema), told_price, parse_utc(fetched_at)
    )


_HIGHEST = Statement(
    lambda _: (
        select(func.max(_p.cost))
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(_j.model == bindparam("model"), _p.estimated == constant(0), _p.cost > constant(0))
    )
)


_NAMED = Statement(
    lambda _: select(schema.manifests.c.model).distinct().order_by(schema.manifests.c.model)
)


def models_named(db: Database) -> list[str]:
    """Every model that a manifest of this dataset was read for: no other can have been used."""
    return [model for (model,) in db.run(_NAMED)]


def observed_price(db: Database, model: str) -> Micros | None:
    """The most that one execution of the model is known to have cost in this dataset."""
    ((highest,),) = db.run(_HIGHEST, {"model": model})
    return Micros(highest) if highest is not None else None
