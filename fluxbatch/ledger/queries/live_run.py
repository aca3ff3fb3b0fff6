"""The activity of a live run, as far as its ledger shows it to another process.

Owns the queries of `watch`: which invocation is at work, how many creates its
lanes made lately and how many of their predictions are alive. Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, case, func, select

from fluxbatch.domain.job import LIVE
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


@dataclass(frozen=True, slots=True)
class LaneTraffic:
    """One account, as its predictions show it."""

    label: str
    alive: int
    left_lately: int
    """Creates that left within the window and may count."""


_TRAFFIC = Statement(
    lambda _: (
        select(
            func.min(_p.key_label),
            func.count(case((one_of(_p.state, LIVE), constant(1)))),
            func.count(case((_p.intended_at >= bindparam("since"), constant(1)))),
        )
        .where(
            one_of(_p.state, LIVE)
            | (
                (_p.seq > bindparam("after"))
                & (_p.intended_at >= bindparam("since"))
                & ~one_of(_p.state, ("unsent", "refused"))
            )
        )
        .group_by(_p.account)
        .order_by(func.min(_p.key_label))
    )
)
_LAST = Statement(lambda _: select(func.coalesce(func.max(_p.seq), constant(0))))
_LOOKED_AT = 20_000
"""Of the latest predictions: more than any window holds."""


def lane_traffic(db: Database, now: datetime, window_s: float) -> list[LaneTraffic]:
    """Every account with a prediction alive, or one that left in the last *window_s* seconds."""
    ((last,),) = db.run(_LAST)
    since = utc_text(now - timedelta(seconds=window_s))
    place = {"since": since, "after": int(last) - _LOOKED_AT}
    return [LaneTraffic(label, alive, left) for label, alive, left in db.run(_TRAFFIC, place)]
