"""The intent: claim, caps, money and the prediction's row in one transaction.

Owns the one way a prediction is created. When `Intend` has answered with an
`Intent`, the money is reserved and the row durable, and only then may a byte leave.
Source: docs/design/protocol.md 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import select

from fluxbatch.domain.job import JobState, PredictionState
from fluxbatch.domain.money import SCOPES, Balance, Caps, Micros
from fluxbatch.domain.state_machine import JobEvent, job_step
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import KeyedQuery, Rows, RowValues, row_insert, row_update
from fluxbatch.ledger.db.sql import among
from fluxbatch.ledger.db.timestamps import boot_us, later, utc_text
from fluxbatch.ledger.operations import budgets, history
from fluxbatch.ledger.sharing.lanes import (
    LaneLost,
    Lease,
    RunStopped,
    expect_gate,
    refusal_of_intent,
)
from fluxbatch.ledger.sharing.run_controls import RunControls

Admit = Callable[[Sequence[Balance], Micros], Balance | None]
"""The cap that forbids one more create of this price, or None. Pure: `scheduler` owns it."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The key a create is sent with, and its lane."""

    account: str
    key_fingerprint: str
    key_label: str
    lease: Lease | None = None
    """Where the lane is shared with other processes: no intent without it."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A prediction that is about to be asked for."""

    prediction_seq: int
    attempt: int


@dataclass(frozen=True, slots=True)
class OverBudget:
    """Nothing was written: this cap has no room."""

    balance: Balance


@dataclass(frozen=True, slots=True)
class LedgerLost:
    """Nothing was written: the ledger is no longer where the next run will look for it."""


@dataclass(frozen=True, slots=True)
class NotPending:
    """Nothing was written: the job needs no create now."""

    state: JobState


_SUBMITTING = str(PredictionState.SUBMITTING)
_j = schema.jobs.c
_JOB = KeyedQuery(
    lambda d: (
        select(_j.seq, _j.state, _j.predictions)
        .where(among(d, _j.seq))
        .order_by(_j.seq)
        .with_for_update()
    ),
    job_at=0,
)
_CLAIM = row_update(schema.jobs, ("state", "predictions"))
_INSERT = row_insert(
    schema.predictions,
    ("seq", "job_seq", "run_seq", "attempt", "state", "account", "key_fingerprint", "key_label",
     "epoch", "price", "reserved", "budget_day", "seed", "control_url", "boot_id",
     "intended_at", "intended_boot_us", "send_by_at", "send_by_boot_us"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Intend:
    """Claim the job, check the caps, reserve the money, insert the prediction."""

    FOREIGN_TEXT: ClassVar = ("control_url",)

    at: Timestamp
    run_seq: int
    run_id: str
    job_seq: int
    key_use: KeyUse
    price: Micros
    """At the create: its cost where the provider gives no figure."""
    caps: Caps
    admit: Admit
    send_within_s: float
    """How long after `at` the create may still leave."""
    budget_day: str
    seed: int | None
    control_url: str | None
    reserve: Micros | None = None
    """What it holds of the caps until its cost is known; None: its price."""

    def expect(self, rows: Rows) -> None:
        if (lease := self.key_use.lease) is not None:
            expect_gate(rows, self.key_use.account, lease, self.run_seq)
        rows.expect(_JOB, self.job_seq)
        budgets.expect_lines(rows, self.run_id, self.budget_day)
        rows.expect_number(schema.predictions)

    def apply(
        self, db: Database
    ) -> Intent | OverBudget | NotPending | LedgerLost | LaneLost | RunStopped | RunControls:
        if not db.is_in_place():
            return LedgerLost()
        if (lease := self.key_use.lease) is not None:
            gate = (self.key_use.account, lease, self.run_seq)
            refusal = refusal_of_intent(db, *gate, unwritten=db.rows.waiting(_INSERT))
            if refusal is not None:
                return refusal
        ((_, state, predictions),) = db.rows.of(_JOB, self.job_seq)
        if state != JobState.PENDING:
            return NotPending(JobState(state))
        lines = budgets.lock_lines(db, self.run_id, self.budget_day)
        if len(lines) < len(SCOPES):  # the first create of a new day
            there = {line.scope for line in lines}  # with caps that may be newer than ours
            budgets.open_lines(db, self.run_id, self.budget_day, self.caps, but=there)
            lines = budgets.lock_lines(db, self.run_id, self.budget_day)
        reserve = self._reserved
        refusing = self.admit(lines, reserve)
        if refusing is not None:
            return OverBudget(refusing)
        budgets.book_budgets(db, self.run_id, self.budget_day, reserved=reserve)
        attempt = int(predictions) + 1
        active = job_step(JobState.PENDING, JobEvent.INTENDED)
        claim = {"seq": self.job_seq, "state": str(active), "predictions": attempt}
        db.rows.write(_CLAIM, claim)
        prediction_seq = db.rows.number(schema.predictions)
        db.rows.write(_INSERT, {"seq": prediction_seq, **self._values(attempt)})
        self._record(db, ("job", self.job_seq), JobEvent.INTENDED, (JobState.PENDING, active))
        self._record(db, ("prediction", prediction_seq), "intent committed", (None, _SUBMITTING))
        return Intent(prediction_seq, attempt)

    @property
    def _reserved(self) -> Micros:
        return self.price if self.reserve is None else self.reserve

    def _values(self, attempt: int) -> RowValues:
        send_by = later(self.at, self.send_within_s)
        return {
            "job_seq": self.job_seq,
            "run_seq": self.run_seq,
            "attempt": attempt,
            "state": _SUBMITTING,
            "account": self.key_use.account,
            "key_fingerprint": self.key_use.key_fingerprint,
            "key_label": self.key_use.key_label,
            "epoch": self.key_use.lease.epoch if self.key_use.lease is not None else 0,
            "price": self.price,
            "reserved": self._reserved,
            "budget_day": self.budget_day,
            "seed": self.seed,
            "control_url": self.control_url,
            "boot_id": self.at.boot_id,
            "intended_at": utc_text(self.at),
            "intended_boot_us": boot_us(self.at),
            "send_by_at": utc_text(send_by),
            "send_by_boot_us": boot_us(send_by),
        }

    def _record(
        self,
        db: Database,
        subject: tuple[history.Subject, int],
        event: str,
        change: tuple[str | None, str],
    ) -> None:
        history.append(
            db,
            subject,
            event,
            at=utc_text(self.at),
            change=change,
            job_seq=self.job_seq,
            run_seq=self.run_seq,
        )
