"""The transitions of a prediction, with what each does to its job and its money.

Owns the transaction behind the two state tables: `state_machine` says what happens, this
file makes it durable, all of it or nothing. Source: docs/design/protocol.md 2 and 5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from fluxbatch.domain.job import FailureClass, JobState, PredictionId, PredictionState
from fluxbatch.domain.money import ZERO, Micros
from fluxbatch.domain.state_machine import (
    JobEvent,
    PredictionEvent,
    SlotMove,
    Step,
    may_try_again,
    step,
)
from fluxbatch.errors import LedgerError
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import Rows
from fluxbatch.ledger.db.sql import clean
from fluxbatch.ledger.db.timestamps import boot_us, utc_text
from fluxbatch.ledger.operations import history, prediction_rows
from fluxbatch.ledger.operations.job_rows import count_attempts, move_job
from fluxbatch.ledger.operations.outputs import (
    AS_BEFORE,
    Keeping,
    WantedOutput,
    WantedOutputs,
    expect_wanted,
    want_outputs,
)
from fluxbatch.ledger.operations.prediction_rows import Before
from fluxbatch.ledger.sharing.failures import count_prediction_end

__all__ = ["Evidence", "Transition", "TransitionResult", "WantedOutput"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about an event beyond its name; None where nothing is."""

    provider_id: PredictionId | None = None
    urls: tuple[str, ...] = ()
    cost: Micros | None = None
    failure: FailureClass | None = None
    reason: str | None = None
    request_id: str | None = None
    left: Timestamp | None = None
    answered: Timestamp | None = None
    given_up: Timestamp | None = None
    adopted: str | None = None
    run_time_s: float | None = None
    polls: int = 0


class TransitionResult(NamedTuple):
    """The new states of a prediction and its job."""

    state: PredictionState
    job_state: JobState
    passed: bool = False
    """The state had passed the event: nothing changed but a line of history."""
    failure: FailureClass | None = None
    attempts: int = 0
    """Failed attempts of this class so far."""
    wanted: WantedOutputs | None = None
    """What it made, where it has just succeeded."""
    charged: Micros = ZERO
    """The prediction's cost as far as it is known."""
    attempt: int = 0
    """Which of its job's predictions it is, from 1."""
    provider_id: str | None = None

    @property
    def edition(self) -> int:
        return self.wanted.edition if self.wanted is not None else 0

    @property
    def outputs(self) -> tuple[WantedOutput, ...]:
        return self.wanted.outputs if self.wanted is not None else ()


class _JudgedEvent(NamedTuple):
    """An event with its cell of the state table."""

    event: PredictionEvent
    evidence: Evidence
    cell: Step
    failure: FailureClass | None
    """What the prediction failed of."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One event of one prediction."""

    FOREIGN_TEXT: ClassVar = ("evidence",)

    at: Timestamp
    prediction_seq: int
    event: PredictionEvent
    evidence: Evidence = Evidence()
    keeping: Keeping = AS_BEFORE

    def expect(self, rows: Rows) -> None:
        fails = self.event not in _NEVER_FAILS
        prediction_rows.expect_before(
            rows, self.prediction_seq, self.evidence.provider_id, fails=fails
        )
        if self.event is PredictionEvent.SUCCEEDED and self.evidence.urls:
            expect_wanted(rows, self.prediction_seq, len(self.evidence.urls), self.keeping)

    def apply(self, db: Database) -> TransitionResult:
        before = prediction_rows.read_before(db, self.prediction_seq)
        event, evidence = self._judged(db)
        cell = step(before.state, event)
        if cell is None:
            self._record(db, before, before.state, event, evidence)
            return _passed(before, evidence)
        failure = cell.failure or evidence.failure
        if cell.counts and failure is None:
            failure = FailureClass.PROVIDER_ERROR
        judged = _JudgedEvent(event, evidence, cell, failure)
        amounts = prediction_rows.amounts_after(cell.money, before, evidence.cost)
        prediction_rows.book_amounts(db, before, amounts)
        values = {**self._values(before, judged), **amounts._asdict()}
        prediction_rows.write(db, self.prediction_seq, values, evidence.polls)
        self._record(db, before, cell.to, event, evidence)
        moved = self._job_moved(db, before, judged)
        if moved.failure is not None or moved.state is PredictionState.SUCCEEDED:
            count_prediction_end(db, moved.failure, evidence.reason)
        return TransitionResult(
            moved.state,
            moved.job_state,
            failure=moved.failure,
            attempts=moved.attempts,
            wanted=moved.wanted,
            charged=Micros(amounts.cost or 0),
            attempt=before.attempt,
            provider_id=evidence.provider_id or before.provider_id,
        )

    def _judged(self, db: Database) -> tuple[PredictionEvent, Evidence]:
        """What really happened, where the event's name and its facts disagree."""
        event, evidence = self.event, self.evidence
        if event is PredictionEvent.COST_LEARNED and evidence.cost is None:
            raise LedgerError("no cost was learned, so nothing can be settled by it")
        if event is PredictionEvent.SUCCEEDED and not evidence.urls:
            event = PredictionEvent.SUCCEEDED_EMPTY
        given_id = evidence.provider_id
        if given_id is None or not prediction_rows.is_anothers(db, given_id, self.prediction_seq):
            return event, evidence
        # An id that another prediction has proves nothing about this one.
        reason = f"the provider gave {given_id!r}, the id of another prediction"
        return PredictionEvent.NO_ANSWER, replace(evidence, provider_id=None, reason=reason)

    def _values(self, before: Before, judged: _JudgedEvent) -> dict[str, object]:
        """The columns that change, but for the amounts."""
        evidence, to = judged.evidence, judged.cell.to
        changed = to is not before.state
        learned: dict[str, object] = {
            "provider_id": evidence.provider_id,
            "failure": judged.failure,
            "reason": clean(evidence.reason),
            "request_id": clean(evidence.request_id),
            "adopted": evidence.adopted,
            "run_time_us": evidence.run_time_s and int(evidence.run_time_s * 1_000_000),
            "ended_at": utc_text(self.at) if changed and not to.is_live else None,
        }
        for name in ("left", "answered", "given_up"):
            moment: Timestamp | None = getattr(evidence, name)
            if moment is not None:
                learned[f"{name}_at"] = utc_text(moment)
                # Of another boot than the row's, its boot clock says nothing.
                if moment.boot_id == before.boot_id:
                    learned[f"{name}_boot_us"] = boot_us(moment)
        values = {name: value for name, value in learned.items() if value is not None}
        if changed and to in _REVIVED and before.state is not PredictionState.SUBMITTING:
            values = {"failure": None, "reason": None, "ended_at": None, **values}
        if judged.event is PredictionEvent.GIVEN_UP:
            values["at_risk"] = 1
        elif changed and before.at_risk:
            values["at_risk"] = 0
        return {"state": str(to), **values} if changed else values

    def _record(
        self, db: Database, before: Before, became: str, event: PredictionEvent, evidence: Evidence
    ) -> None:
        history.append(
            db,
            ("prediction", self.prediction_seq),
            event,
            at=utc_text(self.at),
            change=(before.state, became),
            job_seq=before.job_seq,
            run_seq=before.run_seq,
            reason=evidence.reason,
            request_id=evidence.request_id,
        )

    def _job_moved(self, db: Database, before: Before, judged: _JudgedEvent) -> TransitionResult:
        to, changed = judged.cell.to, judged.cell.to is not before.state
        if to is PredictionState.SUCCEEDED and changed:
            state = self._job(db, before, JobEvent.GENERATED)
            urls = judged.evidence.urls
            wanted = want_outputs(db, before.job_seq, self.prediction_seq, urls, self.keeping)
            wanted = wanted.with_learned(judged.evidence.provider_id, judged.evidence.adopted)
            return TransitionResult(to, state, wanted=wanted)
        if judged.cell.slot is SlotMove.RETAKEN:
            return TransitionResult(to, self._job(db, before, JobEvent.FOUND))
        if to.is_live or not changed:
            return TransitionResult(to, before.job_state)
        return self._after_failure(db, before, judged)

    def _after_failure(
        self, db: Database, before: Before, judged: _JudgedEvent
    ) -> TransitionResult:
        """The attempt is over without a result: the job waits, or has failed.

        While another prediction of it may be alive it does neither, but what failed is counted:
        the last one to end decides by all of them.
        """
        to, failure = judged.cell.to, judged.failure if judged.cell.counts else None
        if before.job_state is not JobState.ACTIVE:
            return TransitionResult(to, before.job_state, failure=failure)
        attempts = {
            FailureClass(name): int(count)
            for name, count in json.loads(before.attempts_json or "{}").items()
        }
        if failure is not None:
            attempts[failure] = attempts.get(failure, 0) + 1
            count_attempts(db, before.job_seq, attempts)
        used = attempts[failure] if failure is not None else 0
        if prediction_rows.another_lives(db, self.prediction_seq):
            return TransitionResult(to, before.job_state, failure=failure, attempts=used)
        final = _final(failure, attempts)
        if final is None:
            state = self._job(db, before, JobEvent.WAITS, reason=judged.evidence.reason)
        else:
            reason = judged.evidence.reason
            if final is not failure:
                reason = prediction_rows.end_reason(db, before.job_seq, final)
            state = self._job(db, before, JobEvent.FAILED, failure=final, reason=reason)
        return TransitionResult(to, state, failure=failure, attempts=used)

    def _job(
        self,
        db: Database,
        before: Before,
        event: JobEvent,
        *,
        failure: FailureClass | None = None,
        reason: str | None = None,
    ) -> JobState:
        return move_job(
            db,
            before.job_seq,
            before.job_state,
            event,
            at=utc_text(self.at),
            run_seq=before.run_seq,
            failure=failure,
            reason=reason,
        )


_NEVER_FAILS = frozenset({
    PredictionEvent.ACCEPTED, PredictionEvent.NOT_FINISHED, PredictionEvent.SUCCEEDED,
    PredictionEvent.COST_LEARNED, PredictionEvent.NO_ANSWER, PredictionEvent.FOUND,
})  # fmt: skip
"""Events after which a prediction has not ended without a result."""
_REVIVED = (PredictionState.RUNNING, PredictionState.SUCCEEDED)
"""States in which an earlier failure no longer holds."""


def _passed(before: Before, evidence: Evidence) -> TransitionResult:
    """The states as before, with the prediction's number and id."""
    return TransitionResult(
        before.state,
        before.job_state,
        passed=True,
        attempt=before.attempt,
        provider_id=evidence.provider_id or before.provider_id,
    )


def _final(latest: FailureClass | None, attempts: dict[FailureClass, int]) -> FailureClass | None:
    """The class that forbids another try: the latest failure's own, else an earlier one's."""
    spent = [name for name, count in attempts.items() if not may_try_again(name, count)]
    if latest in spent:
        return latest
    return spent[-1] if spent else None
