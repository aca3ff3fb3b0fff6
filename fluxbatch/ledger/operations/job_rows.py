"""The row of a job as its state changes, each change with its line of history.

Owns the one way a job's state is written: checked by the jobs' table in `state_machine`,
with the class and the message of a failure kept for exactly as long as it is failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.state_machine import JobEvent, job_step
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import row_update
from fluxbatch.ledger.db.sql import clean
from fluxbatch.ledger.operations import history
from fluxbatch.ledger.sharing.failures import count_job_end

_MOVE = row_update(schema.jobs, ("state", "failure", "reason", "ended_at"))
_COUNT_ATTEMPTS = row_update(schema.jobs, ("attempts_json",))
_ENDED = (JobState.DONE, JobState.FAILED)


def move_job(
    db: Database,
    job_seq: int,
    was: JobState,
    event: JobEvent,
    *,
    at: str,
    run_seq: int | None = None,
    failure: FailureClass | None = None,
    reason: str | None = None,
) -> JobState:
    """Write the job's next state, and answer it; *failure* and *reason* stay if it has failed."""
    state = job_step(was, event)
    if state is was:
        return state
    failed = state is JobState.FAILED
    db.rows.write(
        _MOVE,
        {
            "seq": job_seq,
            "state": str(state),
            "failure": failure if failed else None,
            "reason": clean(reason or failure) if failed else None,
            "ended_at": at if state in _ENDED else None,
        },
    )
    if state in _ENDED:
        count_job_end(db, failed=failed)
    history.append(
        db,
        ("job", job_seq),
        event,
        at=at,
        change=(was, state),
        job_seq=job_seq,
        run_seq=run_seq,
        reason=reason,
    )
    return state


def count_attempts(db: Database, job_seq: int, attempts: Mapping[FailureClass, int]) -> None:
    """Keep how often the job has failed of each class since the user's last `retry`."""
    db.rows.write(_COUNT_ATTEMPTS, {"seq": job_seq, "attempts_json": json.dumps(attempts)})
