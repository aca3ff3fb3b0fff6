"""The reads of an audit: predictions for the provider's listing, files for the folder.

Owns no state and changes none; runs on a reader's own connection. Whatever may be long comes
in pages, in the order of its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, or_, select

from fluxbatch.domain.job import (
    LIVE,
    Input,
    JobId,
    JobState,
    OutputState,
    PredictionId,
    PredictionState,
)
from fluxbatch.domain.money import Micros, in_dollars
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import parse_utc

_j, _p, _o = schema.jobs.c, schema.predictions.c, schema.outputs.c
_m, _r, _u = schema.manifests.c, schema.runs.c, schema.uploads.c
_PAGE = 2_000

_P = PredictionState
WITHOUT_ID = (_P.UNKNOWN, _P.ABSENT, _P.UNSENT, _P.REFUSED)
"""States of a create that got no id: what is found later may be it."""


@dataclass(frozen=True, slots=True)
class LatestRun:
    """The latest run with creates, and its settings."""

    seq: int
    run_id: str
    manifest_seq: int
    model: str
    settings_json: str


_LATEST = Statement(
    lambda _: (
        select(_r.seq, _r.id, _r.manifest_seq, _m.model, _r.settings_json)
        .join_from(schema.runs, schema.manifests, _m.seq == _r.manifest_seq)
        .order_by(func.coalesce(_r.continued_at, _r.started_at).desc(), _r.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)


def latest_run(db: Database) -> LatestRun | None:
    """None in a dataset that never ran, where nothing can have been submitted."""
    found = db.run(_LATEST)
    return LatestRun(*found[0]) if found else None


@dataclass(frozen=True, slots=True)
class KnownPrediction:
    """A prediction with an id, as far as an audit cares."""

    seq: int
    provider_id: PredictionId
    state: PredictionState
    cost: Micros | None
    is_estimated: bool
    price: Micros
    account: str
    key_fingerprint: str
    key_label: str
    adopted: str | None
    job_id: JobId
    intended: datetime
    was_read_again: bool


_KNOWN_COLUMNS = (
    _p.seq, _p.provider_id, _p.state, _p.cost, _p.estimated, _p.price, _p.account,
    _p.key_fingerprint, _p.key_label, _p.adopted, _j.id, _p.intended_at, _p.read_again_at,
)  # fmt: skip
_BY_ID = Statement(
    lambda _: (
        select(*_KNOWN_COLUMNS)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(_p.provider_id == bindparam("provider_id"))
    )
)
_IN_ORDER = Statement(
    lambda _: (
        select(*_KNOWN_COLUMNS)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(_p.provider_id.is_not(None), _p.seq > bindparam("after"))
        .order_by(_p.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def known_predictions(
    db: Database, ids: Iterable[PredictionId]
) -> dict[PredictionId, KnownPrediction]:
    """Those of *ids* that some prediction of the ledger bears."""
    found = {}
    for name in ids:
        for record in db.run(_BY_ID, {"provider_id": name}):
            found[name] = _known(record)
    return found


def predictions_after(db: Database, after: int, most: int = _PAGE) -> list[KnownPrediction]:
    """Predictions with an id, in the order of their numbers, from the one after *after*."""
    return [_known(record) for record in db.run(_IN_ORDER, {"after": after, "most": most})]


def _known(record: tuple[Any, ...]) -> KnownPrediction:
    seq, provider_id, state, cost, estimated, price, account, key, label, adopted = record[:10]
    job_id, intended_at, read_again_at = record[10:]
    return KnownPrediction(
        seq, PredictionId(provider_id), PredictionState(state), cost, bool(estimated), price,
        account, key, label, adopted, JobId(bytes(job_id)), parse_utc(intended_at),
        read_again_at is not None,
    )  # fmt: skip


_STATE = Statement(lambda _: select(_p.state).where(_p.seq == bindparam("prediction_seq")))
_LIVE_STATES = Statement(
    lambda _: select(_p.seq, _p.state, _p.adopted).where(one_of(_p.state, LIVE)).order_by(_p.seq)
)
_MARKS = Statement(
    lambda _: select(_p.intended_at).where(_p.seq % bindparam("every") == constant(0))
)
_SPAN = Statement(lambda _: select(func.min(_p.intended_at), func.max(_p.seq)))


class Live(NamedTuple):
    """A prediction that may be alive."""

    seq: int
    state: PredictionState
    adopted: str | None


def live_now(db: Database) -> list[Live]:
    """Every prediction that may be alive, the oldest first."""
    return [Live(seq, _P(state), adopted) for seq, state, adopted in db.run(_LIVE_STATES)]


def states_of(db: Database, seqs: Iterable[int]) -> list[PredictionState]:
    """The states of these predictions now."""
    return [_P(db.run(_STATE, {"prediction_seq": seq})[0][0]) for seq in seqs]


@dataclass(frozen=True, slots=True)
class Span:
    """The times of a dataset's creates, cut into parts that hold about as many each."""

    began: datetime
    highest_seq: int
    cuts: tuple[datetime, ...]


def buying_span(db: Database, every: int) -> Span | None:
    """None where nothing was ever intended."""
    ((began, highest),) = db.run(_SPAN)
    if began is None:
        return None
    cuts = sorted(parse_utc(at) for (at,) in db.run(_MARKS, {"every": every}))
    return Span(parse_utc(began), int(highest), tuple(cuts))


class Drift(NamedTuple):
    """Successes that cost something else than the price at their purchase."""

    price: Micros
    cost: Micros
    predictions: int

    @property
    def price_usd(self) -> Decimal:
        return in_dollars(self.price)

    @property
    def cost_usd(self) -> Decimal:
        return in_dollars(self.cost)


_DRIFT = Statement(
    lambda _: (
        select(_p.price, _p.cost, func.count())
        .where(
            _p.state == constant(_P.SUCCEEDED),
            _p.estimated == constant(0),
            _p.cost != _p.price,
        )
        .group_by(_p.price, _p.cost)
        .order_by(_p.price, _p.cost)
    )
)


def price_drift(db: Database) -> list[Drift]:
    """By price and cost."""
    return [Drift(Micros(price), Micros(cost), int(n)) for price, cost, n in db.run(_DRIFT)]


@dataclass(frozen=True, slots=True)
class JobInput:
    """A job as an orphan is compared with it."""

    seq: int
    job_id: JobId
    model: str
    input: Input
    state: JobState
    control_sha256: str | None
    reseed: int


_JOBS = Statement(
    lambda _: (
        select(_j.seq, _j.id, _j.input_json, _j.state, _j.control_sha256, _j.reseed)
        .where(_j.model == bindparam("model"), _j.seq > bindparam("after"))
        .order_by(_j.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_UPLOADS = Statement(lambda _: select(_u.url, _u.sha256))
_SENT_URLS = Statement(
    lambda _: (
        select(_p.control_url, _j.control_sha256)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(_p.control_url.is_not(None))
        .distinct()
    )
)
_UNBORNE = Statement(
    lambda _: (
        select(_p.seq, _p.intended_at, _p.seed, _p.state == constant(_P.SUBMITTING))
        .where(
            _p.job_seq == bindparam("job_seq"),
            _p.provider_id.is_(None),
            one_of(_p.state, (_P.SUBMITTING, *WITHOUT_ID)),
        )
        .order_by(_p.seq)
    )
)


def jobs_after(db: Database, model: str, after: int, most: int = _PAGE) -> list[JobInput]:
    """The model's jobs, in the order of their numbers, from the one after *after*."""
    return [
        JobInput(
            seq,
            JobId(bytes(name)),
            model,
            json.loads(input_json),
            JobState(state),
            sha256,
            int(reseed),
        )
        for seq, name, input_json, state, sha256, reseed in db.run(
            _JOBS, {"model": model, "after": after, "most": most}
        )
    ]


def contents_of(db: Database, urls: set[str]) -> dict[str, str]:
    """Which local control image each of *urls* was an upload of, by its sha256."""
    pairs = [*db.run(_SENT_URLS), *db.run(_UPLOADS)]
    return {url: sha256 for url, sha256 in pairs if url in urls and sha256 is not None}


class NeverCreated(NamedTuple):
    """A create without an id."""

    seq: int
    intended: datetime
    seed: int | None
    """As it was sent, or would have been."""
    is_on_its_way: bool
    """It may get an id yet."""


def never_created(db: Database, job_seq: int) -> list[NeverCreated]:
    """The job's creates without an id, the oldest first."""
    return [
        NeverCreated(seq, parse_utc(at), seed, bool(submitting))
        for seq, at, seed, submitting in db.run(_UNBORNE, {"job_seq": job_seq})
    ]


class StoredFile(NamedTuple):
    """A file as the ledger has it."""

    output_seq: int
    job_seq: int
    path: str
    sha256: str
    bytes: int | None
    """None where metadata was embedded: then the hash alone is known of the file."""


_FILES = Statement(
    lambda _: (
        select(_o.seq, _o.job_seq, _o.path, _o.sha256, _o.file_sha256, _o.bytes)
        .where(_o.state == constant(OutputState.STORED), _o.seq > bindparam("after"))
        .order_by(_o.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_LOST = Statement(
    lambda _: (
        select(_o.seq, _o.job_seq, _o.reason)
        .where(_o.state == constant(OutputState.LOST))
        .order_by(_o.seq)
    )
)
_UNSTORED = Statement(
    lambda _: select(func.count()).where(
        or_(
            _o.state == constant(OutputState.WANTED),
            _o.state == constant(OutputState.LOST),
        )
    )
)
_IMAGES = Statement(lambda _: select(func.count()).where(_o.state == constant(OutputState.STORED)))
_IS_NAMED = Statement(lambda _: select(_o.seq).where(_o.path == bindparam("path")))


def stored_after(db: Database, after: int, most: int = _PAGE) -> list[StoredFile]:
    """Stored outputs, in the order of their numbers, from the one after *after*."""
    files = []
    for seq, job, path, sha256, file_sha256, size in db.run(_FILES, {"after": after, "most": most}):
        embedded = file_sha256 is not None
        files.append(StoredFile(seq, job, path, file_sha256 or sha256, None if embedded else size))
    return files


def lost_outputs(db: Database) -> list[tuple[int, int, str]]:
    """(output, job, why) of every output that could not be fetched."""
    return [(seq, job, reason or "lost") for seq, job, reason in db.run(_LOST)]


def count_images(db: Database) -> tuple[int, int]:
    """How many outputs are stored, and how many are not."""
    ((stored,),), ((unstored,),) = db.run(_IMAGES), db.run(_UNSTORED)
    return int(stored), int(unstored)


def unnamed(db: Database, paths: Iterable[str]) -> list[str]:
    """Those of *paths* that no output of the ledger names."""
    return [path for path in paths if not db.run(_IS_NAMED, {"path": path})]
