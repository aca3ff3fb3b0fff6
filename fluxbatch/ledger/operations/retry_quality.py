"""The user's `retry --quality`: done jobs back to pending for another image, with another seed.

Owns the only way from done to pending. The image that is there stays, as an earlier edition. A job
whose row gives the seed would only buy the same image again, and one with a prediction that
may be alive could be paid twice: both stay. Source: docs/design/protocol.md 1 and 2.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, null, select, update

from fluxbatch.domain.job import LIVE, JobState, Quality
from fluxbatch.domain.state_machine import JobEvent
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant, one_of
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations.job_rows import move_job
from fluxbatch.ledger.queries.quality_notes import noted_outputs

_j, _p = schema.jobs.c, schema.predictions.c
_SEQ = _j.seq == bindparam("job_seq")
_READ = Statement(
    lambda _: (
        select(
            _j.state, _j.input_json, exists().where(_p.job_seq == _j.seq, one_of(_p.state, LIVE))
        )
        .where(_SEQ)
        .with_for_update(of=[schema.jobs])
    )
)
_RESEED = Statement(
    lambda _: (
        update(schema.jobs).where(_SEQ).values(reseed=_j.reseed + constant(1), attempts_json=null())
    )
)


@dataclass(frozen=True, slots=True)
class Reseeded:
    """How many jobs went back, and how many stayed."""

    jobs: int
    seeded: int
    """Their rows give the seed."""
    alive: int
    """A prediction of theirs may be alive."""


@dataclass(frozen=True, slots=True)
class RetryQuality:
    """Done jobs of whose latest images one bears a note of *notes*, back to pending."""

    at: Timestamp
    notes: Collection[Quality]

    def apply(self, db: Database) -> Reseeded:
        db.take_time()
        jobs = dict[int, Quality]()
        for one in noted_outputs(db):
            for note in one.notes:
                if note in self.notes:
                    jobs.setdefault(one.job_seq, note)
        counted = {"jobs": 0, "seeded": 0, "alive": 0}
        for job_seq, note in jobs.items():
            counted[self._again(db, job_seq, note)] += 1
        return Reseeded(**counted)

    def _again(self, db: Database, job_seq: int, note: Quality) -> str:
        ((state, given, alive),) = db.run(_READ, {"job_seq": job_seq})
        if alive:
            return "alive"
        if "seed" in json.loads(given):
            return "seeded"
        db.run(_RESEED, {"job_seq": job_seq})
        move_job(
            db,
            job_seq,
            JobState(state),
            JobEvent.RESEEDED,
            at=utc_text(self.at),
            reason=f"its image was {_WORDS[note]}",
        )
        return "jobs"


_WORDS = {
    Quality.BLACK: "black",
    Quality.FLAT: "one flat colour",
    Quality.SIZE: "not of the size asked for",
    Quality.DUPLICATE: "nearly the same as an earlier one",
}
