"""The changes of maintenance: requeue outputs, adopt, read again, record a cancel request.

Owns the changes that `repair`, `reconcile` and `cancel` make beyond the state tables' own
events. Nothing here reserves money for something that is still to be created: what an
orphan cost was spent already. Source: docs/design/protocol.md 2 and 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, null, select, update

from fluxbatch.domain.adoption import BY_INPUT
from fluxbatch.domain.job import FailureClass, JobState, OutputState, PredictionId, PredictionState
from fluxbatch.domain.money import SCOPES, Caps, Micros
from fluxbatch.domain.state_machine import JobEvent, OutputEvent, output_step
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, clean, constant, insert_numbered, one_of
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import budgets, history
from fluxbatch.ledger.operations.job_rows import move_job

_j, _p, _o = schema.jobs.c, schema.predictions.c, schema.outputs.c
_OF_JOB = _j.seq == bindparam("job_seq")

_OUTPUTS = Statement(
    lambda _: select(_o.seq, _o.prediction_seq, _o.state).where(_o.job_seq == bindparam("job_seq"))
)
_JOB = Statement(
    lambda _: (
        select(_j.state, _j.failure, _j.outputs_wanted, _j.predictions)
        .where(_OF_JOB)
        .with_for_update()
    )
)
_WANT = Statement(
    lambda _: (
        update(schema.outputs)
        .where(_o.seq == bindparam("output_seq"))
        .values(state=constant(OutputState.WANTED), reason=null())
    )
)
_READ_AGAIN = Statement(
    lambda _: (
        update(schema.predictions)
        .where(
            _p.seq == bindparam("prediction_seq"),
            one_of(_p.state, (PredictionState.TIMED_OUT, PredictionState.LOST)),
        )
        .values(read_again_at=bindparam("read_at"))
    )
)
_ASKED = Statement(
    lambda _: (
        update(schema.predictions)
        .where(_p.seq == bindparam("prediction_seq"))
        .values(cancel_asked_at=bindparam("asked_at"))
    )
)
_OWNERS = Statement(
    lambda _: select(_p.job_seq, _p.run_seq, _p.state).where(_p.seq == bindparam("prediction_seq"))
)
_TAKEN = Statement(lambda _: select(_p.seq).where(_p.provider_id == bindparam("provider_id")))
_COUNT = Statement(
    lambda _: update(schema.jobs).where(_OF_JOB).values(predictions=bindparam("attempt"))
)
_INSERT = Statement(
    lambda d: insert_numbered(
        d,
        schema.predictions,
        ("job_seq", "run_seq", "attempt", "provider_id", "state", "adopted", "account",
         "key_fingerprint", "key_label", "price", "reserved", "budget_day", "seed", "control_url",
         "boot_id", "intended_at", "intended_boot_us", "send_by_at", "send_by_boot_us",
         "answered_at"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequeueOutputs:
    """Outputs of one job whose files are not there, or not whole; answers the job's state."""

    at: Timestamp
    job_seq: int
    outputs: Sequence[tuple[int, str]]
    """Each with why."""

    def apply(self, db: Database) -> JobState:
        states = {
            seq: (prediction, OutputState(state))
            for seq, prediction, state in db.run(_OUTPUTS, {"job_seq": self.job_seq})
        }
        for seq, why in self.outputs:
            prediction, was = states[seq]
            if was is OutputState.WANTED:
                continue
            became = output_step(was, OutputEvent.WANTED)
            db.run(_WANT, {"output_seq": seq})
            states[seq] = (prediction, became)
            self._remember(db, seq, was, became, why)
        ((state, failure, asked_for, _),) = db.run(_JOB, {"job_seq": self.job_seq})
        was_job = JobState(state)
        if not _is_repaired(was_job, failure) or _has_all(states.values(), asked_for):
            return was_job
        return move_job(db, self.job_seq, was_job, JobEvent.REPAIRED, at=utc_text(self.at))

    def _remember(
        self, db: Database, seq: int, was: OutputState, became: OutputState, why: str
    ) -> None:
        history.append(
            db,
            ("output", seq),
            OutputEvent.WANTED,
            at=utc_text(self.at),
            change=(was, became),
            job_seq=self.job_seq,
            reason=why,
        )


def _is_repaired(state: JobState, failure: str | None) -> bool:
    """Whether the job's end hangs on its files; any other failure is none of `repair`'s."""
    if state is JobState.FAILED:
        return failure in {FailureClass.OUTPUT_LOST, FailureClass.SHORT_OUTPUT}
    return state is JobState.DONE


def _has_all(outputs: Iterable[tuple[int, OutputState]], asked_for: int) -> bool:
    """Whether one prediction's outputs are all stored and as many as asked for: then the job is
    done, whatever becomes of an extra prediction's."""
    by_prediction: dict[int, list[OutputState]] = {}
    for prediction, state in outputs:
        by_prediction.setdefault(prediction, []).append(state)
    return any(
        len(states) >= asked_for and set(states) == {OutputState.STORED}
        for states in by_prediction.values()
    )


@dataclass(frozen=True, slots=True)
class RecordRead:
    """A prediction that timed out or was lost was read again and is not alive: its job may be
    retried. Changes nothing else."""

    at: Timestamp
    prediction_seq: int
    words: str

    def apply(self, db: Database) -> None:
        place = {"prediction_seq": self.prediction_seq}
        db.run(_READ_AGAIN, {**place, "read_at": utc_text(self.at)})
        _remember_same(db, self.at, self.prediction_seq, "read again", self.words)


@dataclass(frozen=True, slots=True)
class RecordCancelRequest:
    """The provider was asked to stop a prediction; it may finish all the same."""

    at: Timestamp
    prediction_seq: int

    def apply(self, db: Database) -> None:
        place = {"prediction_seq": self.prediction_seq}
        db.run(_ASKED, {**place, "asked_at": utc_text(self.at)})
        _remember_same(db, self.at, self.prediction_seq, "asked to stop", None)


def _remember_same(
    db: Database, at: Timestamp, prediction_seq: int, event: str, reason: str | None
) -> None:
    ((job_seq, run_seq, state),) = db.run(_OWNERS, {"prediction_seq": prediction_seq})
    history.append(
        db,
        ("prediction", prediction_seq),
        event,
        at=utc_text(at),
        change=(state, state),
        job_seq=job_seq,
        run_seq=run_seq,
        reason=reason,
    )


@dataclass(frozen=True, slots=True)
class AdoptOrphan:
    """A prediction that the provider billed and the ledger never knew becomes its job's.

    Answers its number; None where another prediction bears the id by now. Its money is reserved
    even above a cap: it is spent already.
    """

    at: Timestamp
    job_seq: int
    provider_id: PredictionId | None
    """None: nobody knows it any more."""
    created: datetime
    account: str
    key_fingerprint: str
    key_label: str
    run_seq: int
    run_id: str
    price: Micros
    caps: Caps
    budget_day: str
    seed: int | None
    control_url: str | None
    found: str = BY_INPUT
    reason: str = "the provider's listing has it, and this job's input"

    def apply(self, db: Database) -> int | None:
        if db.run(_TAKEN, {"provider_id": self.provider_id}):
            return None
        ((state, _, _, predictions),) = db.run(_JOB, {"job_seq": self.job_seq})
        if len(budgets.lock_lines(db, self.run_id, self.budget_day)) < len(SCOPES):
            budgets.open_lines(db, self.run_id, self.budget_day, self.caps)
        budgets.book_budgets(db, self.run_id, self.budget_day, reserved=self.price)
        attempt = int(predictions) + 1
        db.run(_COUNT, {"job_seq": self.job_seq, "attempt": attempt})
        seq = db.insert(_INSERT, self._values(attempt))
        history.append(
            db,
            ("prediction", seq),
            "adopted",
            at=utc_text(self.at),
            change=(None, PredictionState.RUNNING),
            job_seq=self.job_seq,
            run_seq=self.run_seq,
            reason=self.reason,
        )
        move_job(
            db,
            self.job_seq,
            JobState(state),
            JobEvent.FOUND,
            at=utc_text(self.at),
            run_seq=self.run_seq,
        )
        return seq

    def _values(self, attempt: int) -> dict[str, object]:
        created = utc_text(self.created)
        return {
            "job_seq": self.job_seq,
            "run_seq": self.run_seq,
            "attempt": attempt,
            "provider_id": clean(self.provider_id),
            "state": str(PredictionState.RUNNING),
            "adopted": self.found,
            "account": self.account,
            "key_fingerprint": self.key_fingerprint,
            "key_label": self.key_label,
            "price": self.price,
            "reserved": self.price,
            "budget_day": self.budget_day,
            "seed": self.seed,
            "control_url": self.control_url,
            # Nobody here saw it leave: of no boot, so that only its UTC counts.
            "boot_id": "",
            "intended_at": created,
            "intended_boot_us": 0,
            "send_by_at": created,
            "send_by_boot_us": 0,
            "answered_at": created,
        }
