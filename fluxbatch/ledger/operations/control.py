"""The changes of a run at work that somebody asked for, each with a line of history.

Owns the change of a run's cap: in one transaction with the books, so that no create slips by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import bindparam, select, update

from fluxbatch.domain.control import CHANGE_EVENT
from fluxbatch.domain.money import Micros
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import history

_b = schema.budgets.c
_CAP = Statement(
    lambda _: (
        update(schema.budgets)
        .where(_b.scope == constant("run"), _b.key == bindparam("run_id"))
        .values(cap=bindparam("to_cap"))
    )
)
_SPENT = Statement(
    lambda _: select(_b.settled + _b.estimated).where(
        _b.scope == constant("run"), _b.key == bindparam("run_id")
    )
)


@dataclass(frozen=True, slots=True)
class RecordChange:
    """Somebody paused, resumed or stopped the run."""

    FOREIGN_TEXT: ClassVar = ("reason",)

    at: Timestamp
    run_seq: int
    change: str
    reason: str

    def apply(self, db: Database) -> None:
        history.append(
            db,
            ("run", self.run_seq),
            f"{CHANGE_EVENT}{self.change}",
            at=utc_text(self.at),
            change=("open", "open"),
            run_seq=self.run_seq,
            reason=self.reason or None,
        )


@dataclass(frozen=True, slots=True)
class ChangeCap:
    """The run may cost *cap* from now on."""

    FOREIGN_TEXT: ClassVar = ("reason",)

    at: Timestamp
    run_seq: int
    run_id: str
    cap: Micros
    words: str
    reason: str

    def apply(self, db: Database) -> Micros:
        """What the run has spent by now: no end of a prediction makes that less than it is."""
        set_run_cap(db, self.run_id, self.cap)
        RecordChange(self.at, self.run_seq, self.words, self.reason).apply(db)
        ((spent,),) = db.run(_SPENT, {"run_id": self.run_id})
        return Micros(int(spent))


def set_run_cap(db: Database, run_id: str, cap: Micros) -> None:
    """The run's line of the books has that cap from now on."""
    db.run(_CAP, {"run_id": run_id, "to_cap": cap})
