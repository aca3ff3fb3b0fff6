"""The changes of a run at work that somebody asked for, each with a line of history.

Owns the change of a run's cap: in one transaction with the books, so that no create slips by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import bindparam, select, update

from fluxbatch.domain.money import Micros
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import history

_b, _h = schema.budgets.c, schema.history.c
CONTROL = "control"
"""How such a line of history begins."""
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
_CHANGES = Statement(
    lambda _: (
        select(_h.at, _h.event, _h.reason)
        .join_from(schema.history, schema.runs, schema.runs.c.seq == _h.run_seq)
        .where(
            _h.subject == constant("run"),
            schema.runs.c.id == bindparam("run_id"),
            _h.job_seq.is_(None),
            _h.event.like(bindparam("begins")),
        )
        .order_by(_h.seq)
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
            f"{CONTROL}: {self.change}",
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


def changes_of(db: Database, run_id: str) -> list[tuple[str, str, str]]:
    """(when, what, why) of each change of a run, in their order."""
    rows = db.run(_CHANGES, {"run_id": run_id, "begins": f"{CONTROL}: %"})
    return [(at, event.removeprefix(f"{CONTROL}: "), why or "") for at, event, why in rows]
