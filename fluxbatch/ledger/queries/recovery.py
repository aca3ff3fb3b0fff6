"""The reads of recovery: what a start must pick up, and the queue's next jobs.

Owns no state and changes none; runs on a reader's own connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, distinct, func, select

from fluxbatch.domain.filenames import output_stem, stem_of_path
from fluxbatch.domain.job import LIVE, Input, JobId, OutputState, PredictionState
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import parse_utc
from fluxbatch.ledger.queries.queue import QUEUED_COLUMNS, QueuedJob, queued_job

_j, _p, _o = schema.jobs.c, schema.predictions.c, schema.outputs.c


@dataclass(frozen=True, slots=True)
class LivePrediction:
    """A prediction that may be alive at the provider."""

    seq: int
    job: QueuedJob
    state: PredictionState
    provider_id: str | None
    account: str
    key_fingerprint: str
    key_label: str
    adopted: str | None
    at_risk: bool
    intended: Timestamp
    seed: int | None
    """As it was sent."""
    control_url: str | None
    left: Timestamp | None
    """None: a crash hides it, or it has not left."""
    given_up: Timestamp | None


_LIVE_COLUMNS = (
    *QUEUED_COLUMNS, _p.seq, _p.state, _p.provider_id, _p.account, _p.key_fingerprint, _p.key_label,
    _p.adopted, _p.at_risk, _p.boot_id, _p.intended_at, _p.intended_boot_us, _p.seed,
    _p.control_url, _p.left_at, _p.left_boot_us, _p.given_up_at, _p.given_up_boot_us,
)  # fmt: skip


def _predictions(which: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda _: (
            select(*_LIVE_COLUMNS)
            .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
            .where(which)
            .order_by(_p.seq)
        )
    )


_LIVE = _predictions(one_of(_p.state, LIVE))
_ONE = _predictions(_p.seq == bindparam("seq"))


def live_predictions(db: Database) -> list[LivePrediction]:
    """Every prediction of the dataset that may be alive, oldest first."""
    return [_prediction(record) for record in db.run(_LIVE)]


def prediction_of(db: Database, seq: int) -> LivePrediction | None:
    """One prediction, whatever its state."""
    return next((_prediction(record) for record in db.run(_ONE, {"seq": seq})), None)


def _prediction(record: Sequence[Any]) -> LivePrediction:
    seq, state, provider_id, account, fingerprint, label, adopted, at_risk = record[8:16]
    boot_id, at, at_us, seed, control_url, left_at, left_us, given_at, given_us = record[16:25]
    return LivePrediction(
        seq,
        queued_job(record[:8]),
        PredictionState(state),
        provider_id,
        account,
        fingerprint,
        label,
        adopted,
        bool(at_risk),
        Timestamp(parse_utc(at), boot_id, at_us / 1_000_000),
        seed,
        control_url,
        _moment(boot_id, left_at, left_us),
        _moment(boot_id, given_at, given_us),
    )


_RECENT = Statement(
    lambda _: (
        select(
            _p.boot_id, _p.intended_at, _p.intended_boot_us, _p.answered_at, _p.answered_boot_us,
            _p.given_up_at, _p.given_up_boot_us,
        )
        .where(
            _p.account == bindparam("account"),
            ~one_of(_p.state, ("unsent",)),
        )
        .order_by(_p.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecentCreate:
    """A create of an account, as far as the window cares."""

    intended: Timestamp
    answered: Timestamp | None
    given_up: Timestamp | None


def recent_creates(db: Database, account: str, most: int) -> list[RecentCreate]:
    """The latest creates of an account that may have left, newest first."""
    return [
        RecentCreate(
            Timestamp(parse_utc(at), boot_id, at_us / 1_000_000),
            _moment(boot_id, answered_at, answered_us),
            _moment(boot_id, given_at, given_us),
        )
        for boot_id, at, at_us, answered_at, answered_us, given_at, given_us in db.run(
            _RECENT, {"account": account, "most": most}
        )
    ]


def _moment(boot_id: str, at: str | None, us: int | None) -> Timestamp | None:
    if at is None:
        return None
    if us is None:  # seen under another boot than the intent's: only UTC compares
        return Timestamp(parse_utc(at), "", 0.0)
    return Timestamp(parse_utc(at), boot_id, us / 1_000_000)


@dataclass(frozen=True, slots=True)
class UnfinishedOutput:
    """An output that is paid and not stored yet."""

    seq: int
    number: int
    prediction_seq: int
    provider_id: str
    account: str
    key_fingerprint: str
    job_id: JobId
    attempt: int
    edition: int
    stem: str
    """Its name below `images/` without the ending, as it was decided once."""


_e = schema.outputs.alias("e").c
_WANTED = Statement(
    lambda _: (
        select(
            _o.seq, _o.number, _o.prediction_seq, _p.provider_id, _p.account,
            _p.key_fingerprint, _j.id, _o.path, _p.attempt,
            select(func.count(distinct(_e.prediction_seq)))
            .where(
                _e.job_seq == _o.job_seq,
                _e.prediction_seq != _o.prediction_seq,
                _e.seq < _o.seq,  # named earlier, as in `outputs.want_outputs`
            )
            .scalar_subquery(),
        )
        .join_from(schema.outputs, schema.predictions, _p.seq == _o.prediction_seq)
        .join(schema.jobs, _j.seq == _o.job_seq)
        .where(_o.state == constant(OutputState.WANTED))
        .order_by(_o.seq)
    )
)  # fmt: skip


def unfinished_outputs(db: Database) -> list[UnfinishedOutput]:
    """Every output that was named by the provider and is not stored, oldest first."""
    return [
        UnfinishedOutput(
            seq,
            number,
            prediction,
            name,
            account,
            key,
            JobId(bytes(job)),
            attempt,
            edition,
            # Kept where it is more than this, or where there was a file already.
            (path and stem_of_path(path)) or output_stem(bytes(job).hex(), edition, number),
        )
        for seq, number, prediction, name, account, key, job, path, attempt, edition in db.run(
            _WANTED
        )
    ]


_KNOWN_ID = Statement(
    lambda _: select(_p.boot_id, _p.left_boot_us, _p.answered_boot_us).where(
        _p.provider_id == bindparam("provider_id")
    )
)


_DURATIONS = Statement(
    lambda _: (
        select(_j.input_json, _p.answered_at, _p.ended_at)
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(
            _p.state == constant(PredictionState.SUCCEEDED),
            _p.answered_at.is_not(None),
            _j.model == bindparam("model"),
        )
        .order_by(_p.seq.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def recent_durations(db: Database, model: str, most: int) -> list[tuple[Input, float]]:
    """(input, seconds from acceptance to the known end) of the latest successes, oldest first."""
    found = db.run(_DURATIONS, {"model": model, "most": most})
    return [
        (json.loads(given), (parse_utc(ended_at) - parse_utc(answered_at)).total_seconds())
        for given, answered_at, ended_at in reversed(found)
    ]


_DATASET = Statement(lambda _: select(schema.ledger_version.c.dataset))


def dataset_id(db: Database) -> str:
    """This ledger's own name: another one in the same folder has another."""
    ((name,),) = db.run(_DATASET)
    return str(name)


class KnownCreate(NamedTuple):
    """When a prediction's create left and was answered, by the clock of one boot."""

    boot_id: str
    left_s: float | None
    answered_s: float | None


def known_creates(db: Database, ids: Iterable[str]) -> dict[str, KnownCreate]:
    """Those of *ids* that some prediction of the ledger bears."""
    found = {}
    for name in ids:
        for boot_id, left_us, answered_us in db.run(_KNOWN_ID, {"provider_id": name}):
            found[name] = KnownCreate(boot_id, _seconds(left_us), _seconds(answered_us))
    return found


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1_000_000
