"""The user's `retry`: failed jobs back to pending, their attempts forgotten.

Owns the one deliberate way to buy again, and the one way to end a job without a create. Jobs
with a prediction that may be alive stay, and those whose prediction timed out or was
lost until it has been read again; jobs whose paid output could not be fetched are
`repair`'s, for nothing. Source: docs/design/protocol.md 2.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Text, and_, bindparam, case, exists, func, insert, null, or_, select, update

from fluxbatch.domain.job import LIVE, FailureClass, JobState, PredictionState
from fluxbatch.domain.state_machine import JobEvent, job_step
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations.job_rows import move_job

MAY_BE_ALIVE = frozenset({FailureClass.TIMED_OUT, FailureClass.LOST})
PAID_ALREADY = frozenset({FailureClass.OUTPUT_LOST})

_j, _p = schema.jobs.c, schema.predictions.c
_UNSURE = and_(
    one_of(_p.state, (PredictionState.TIMED_OUT, PredictionState.LOST)), _p.read_again_at.is_(None)
)
_LIVES = exists().where(_p.job_seq == _j.seq, or_(one_of(_p.state, LIVE), _UNSURE))
_PASSED_OVER = _j.listed_in.is_(None) & exists().where(schema.rerolls.c.job_seq == _j.seq)
"""A reroll that failed, where the next number stands for it."""
_MAY_RETRY = (_j.state == constant(JobState.FAILED)) & ~_PASSED_OVER
_RETRIED = and_(_MAY_RETRY, _j.failure == bindparam("failed_of"), ~_LIVES)
_FAILED = Statement(
    lambda _: (
        select(
            _j.failure,
            func.count(),
            func.count(case((_LIVES, constant(1)))),
        )
        .where(_MAY_RETRY)
        .group_by(_j.failure)
        .order_by(_j.failure)
    )
)
_REMEMBER = Statement(
    lambda _: insert(schema.history).from_select(
        ["at", "subject", "subject_seq", "job_seq", "was", "became", "event", "reason"],
        select(
            bindparam("at", type_=Text),
            constant("job"),
            _j.seq,
            _j.seq,
            _j.state,
            bindparam("to", type_=Text),
            bindparam("event", type_=Text),
            _j.failure,
        )
        .where(_RETRIED)
        .order_by(_j.seq),
    )
)
_RETRY = Statement(
    lambda _: (
        update(schema.jobs)
        .where(_RETRIED)
        .values(
            state=bindparam("to"),
            failure=null(),
            reason=null(),
            attempts_json=null(),
            ended_at=null(),
        )
    )
)
_STATE = Statement(
    lambda _: select(_j.state).where(_j.seq == bindparam("job_seq")).with_for_update()
)


@dataclass(frozen=True, slots=True)
class Retried:
    """How many jobs went back, and how many stayed, by class."""

    jobs: int
    kept: dict[FailureClass, int]


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed jobs of *kinds* (none named: of every class that may be retried) back to pending."""

    at: Timestamp
    kinds: Collection[FailureClass] = ()

    def apply(self, db: Database) -> Retried:
        db.take_time()
        retried, kept = 0, dict[FailureClass, int]()
        for name, failed, alive in db.run(_FAILED):
            failure = FailureClass(name)
            if self.kinds and failure not in self.kinds:
                continue
            stays = int(alive)
            if failure in PAID_ALREADY and not self.kinds:
                stays = int(failed)
            if stays:
                kept[failure] = stays
            if stays < failed:
                self._back(db, failure)
                retried += failed - stays
        return Retried(retried, kept)

    def _back(self, db: Database, failure: FailureClass) -> None:
        place = {
            "failed_of": failure,
            "to": job_step(JobState.FAILED, JobEvent.RETRIED),
        }
        db.run(_REMEMBER, {**place, "at": utc_text(self.at), "event": JobEvent.RETRIED})
        db.run(_RETRY, place)


@dataclass(frozen=True, slots=True)
class RefuseJob:
    """A pending job whose control image cannot be read or uploaded: it ends without a create."""

    at: Timestamp
    job_seq: int
    reason: str

    def apply(self, db: Database) -> None:
        ((state,),) = db.run(_STATE, {"job_seq": self.job_seq})
        if state == JobState.PENDING:
            move_job(
                db,
                self.job_seq,
                JobState.PENDING,
                JobEvent.UNUSABLE,
                at=utc_text(self.at),
                failure=FailureClass.INVALID_INPUT,
                reason=self.reason,
            )
