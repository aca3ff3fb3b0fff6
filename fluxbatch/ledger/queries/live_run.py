"""The activity of a live run, as far as its ledger shows it to another process.

Owns the queries of `watch`: which invocation is at work, how many creates its lanes made lately,
how many of their predictions are alive and what became of the latest create. Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, case, func, select

from fluxbatch.domain.job import LIVE
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import parse_utc, utc_text

_u, _p, _h = schema.runs.c, schema.predictions.c, schema.history.c


@dataclass(frozen=True, slots=True)
class WatchedRun:
    """The latest run of a dataset."""

    seq: int
    run_id: str
    began: datetime
    """UTC; its latest invocation."""
    reason: str
    """Why it ended; empty while it goes on."""
    settings_json: str
    manifest_seq: int
    exit_code: int | None = None
    """Of its latest invocation; None while that goes on, or where it was killed."""


_RUN = Statement(
    lambda _: (
        select(
            _u.seq, _u.id, func.coalesce(_u.continued_at, _u.started_at), _u.ended_at,
            _u.exit_code, _u.reason, _u.settings_json, _u.manifest_seq,
        )
        .order_by(_u.seq.desc()).limit(constant(1)).offset(constant(0))
    )
)  # fmt: skip


def watched_run(db: Database) -> WatchedRun | None:
    """None in a dataset that never ran."""
    found = db.run(_RUN)
    if not found:
        return None
    seq, run_id, began, ended_at, code, reason, settings, manifest_seq = found[0]
    has_ended = ended_at is not None or code is not None
    words = (reason or "") if has_ended else ""
    return WatchedRun(seq, run_id, parse_utc(began), words, settings, manifest_seq, code)


_LAST_LINE = Statement(
    lambda _: select(_h.at).order_by(_h.seq.desc()).limit(constant(1)).offset(constant(0))
)


def last_progress(db: Database) -> datetime | None:
    """When something last changed, in UTC: of the last line of history, whatever that tells."""
    found = db.run(_LAST_LINE)
    return parse_utc(found[0][0]) if found else None


class LastCreate(NamedTuple):
    """The latest create of a lane that this invocation meant to send."""

    key_label: str
    refusal: str = ""
    """The event by which it came to nothing; empty where it did not."""
    reason: str = ""
    at: datetime | None = None
    """When it was meant to leave, in UTC; of a refused one."""


@dataclass(frozen=True, slots=True)
class LaneTraffic:
    """One account, as its predictions show it."""

    account: str
    labels: tuple[str, ...] = ()
    """Of its keys that were used, in their order."""
    alive: int = 0
    left_lately: int = 0
    """Creates that left within the window and may count."""
    last: int | None = None
    """The latest create of the invocation that is at work."""


_TRAFFIC = Statement(
    lambda _: (
        select(
            _p.account,
            _p.key_label,
            func.count(case((one_of(_p.state, LIVE), constant(1)))),
            func.count(case((_p.intended_at >= bindparam("since"), constant(1)))),
        )
        .where(one_of(_p.state, LIVE) | (_is_recent() & _counts_since()))
        .group_by(_p.account, _p.key_label)
        .order_by(_p.account, _p.key_label)
    )
)
_LATEST = Statement(
    lambda _: (
        select(_p.account, _p.key_label, func.max(_p.seq))
        .where(
            _is_recent(),
            _p.run_seq == bindparam("run_seq"),
            _p.intended_at >= bindparam("began"),
        )
        .group_by(_p.account, _p.key_label)
        .order_by(_p.account, _p.key_label)
    )
)


def _is_recent() -> ColumnElement[bool]:
    return _p.seq > bindparam("after")


def _counts_since() -> ColumnElement[bool]:
    made = ~one_of(_p.state, ("unsent", "refused"))
    return (_p.intended_at >= bindparam("since")) & made


_LAST = Statement(lambda _: select(func.coalesce(func.max(_p.seq), constant(0))))
_LOOKED_AT = 20_000
"""Of the latest predictions: more than any window holds."""


def lane_traffic(db: Database, now: datetime, window_s: float) -> list[LaneTraffic]:
    """Every account with a prediction alive, or one that left in the last *window_s* seconds."""
    since = utc_text(now - timedelta(seconds=window_s))
    place = {"since": since, "after": _looked_at_after(db)}
    found: dict[str, LaneTraffic] = {}
    for account, label, alive, left in db.run(_TRAFFIC, place):
        was = found.get(account) or LaneTraffic(account)
        labels = (*was.labels, label)
        found[account] = LaneTraffic(account, labels, was.alive + alive, was.left_lately + left)
    return sorted(found.values(), key=lambda lane: lane.labels)


def lanes_of_invocation(
    db: Database, run: WatchedRun, now: datetime, window_s: float
) -> list[LaneTraffic]:
    """The same, and every account with a create of the invocation that is at work."""
    found = {lane.account: lane for lane in lane_traffic(db, now, window_s)}
    place = {"after": _looked_at_after(db), "run_seq": run.seq, "began": utc_text(run.began)}
    for account, label, last in db.run(_LATEST, place):
        was = found.get(account) or LaneTraffic(account)
        labels = tuple(sorted({*was.labels, label}))
        latest = max(last, was.last or last)
        found[account] = replace(was, labels=labels, last=latest)
    return sorted(found.values(), key=lambda lane: lane.labels)


def _looked_at_after(db: Database) -> int:
    ((last,),) = db.run(_LAST)
    return int(last) - _LOOKED_AT


_CREATE = Statement(
    lambda _: select(
        _p.job_seq, _p.key_label, _p.state, _p.reason, _p.intended_at
    ).where(_p.seq == bindparam("seq"))
)  # fmt: skip
_EVENT = Statement(
    lambda _: (
        select(_h.event)
        .where(
            _h.job_seq == bindparam("job_seq"),
            _h.subject == constant("prediction"),
            _h.subject_seq == bindparam("seq"),
        )
        .order_by(_h.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)


def last_create(db: Database, seq: int) -> LastCreate:
    """The create of that number; where it was refused or could not be sent, by what."""
    ((job_seq, label, state, reason, intended),) = db.run(_CREATE, {"seq": seq})
    if state not in {"unsent", "refused"}:
        return LastCreate(label)
    ((event,),) = db.run(_EVENT, {"job_seq": job_seq, "seq": seq})
    return LastCreate(label, event, reason or "", parse_utc(intended))


_PRICE = Statement(
    lambda _: select(func.max(case((_p.reserved > _p.price, _p.reserved), else_=_p.price))).where(
        _is_recent(), _p.run_seq == bindparam("run_seq")
    )
)


def latest_price(db: Database, run: WatchedRun) -> Micros | None:
    """What a create of the run took of the caps, at most; None where it made none lately."""
    ((most,),) = db.run(_PRICE, {"after": _looked_at_after(db), "run_seq": run.seq})
    return Micros(most) if most is not None else None


_COUNTED_AT = func.coalesce(_p.answered_at, _p.given_up_at, _p.left_at, _p.intended_at)
_COUNTED = Statement(
    lambda _: (
        select(_COUNTED_AT)
        .where(
            _is_recent(),
            _p.account == bindparam("account"),
            _counts_since(),
        )
        .order_by(_COUNTED_AT.desc())
        .limit(constant(1))
        .offset(bindparam("place"))
    )
)


def next_create_in_s(
    db: Database, lane: LaneTraffic, now: datetime, window_s: float, creates: int
) -> float:
    """Seconds until fewer than *creates* of the lane count; 0: they do."""
    place = {
        "since": utc_text(now - timedelta(seconds=window_s)),
        "after": _looked_at_after(db),
        "account": lane.account,
        "place": creates - 1,
    }
    found = db.run(_COUNTED, place)
    if not found:
        return 0.0
    return max((parse_utc(found[0][0]) - now).total_seconds() + window_s, 0.0)
