"""Runs: opened or continued, and ended.

Owns the `runs` table. Exits 0, 3, 4, 5 and 7 end a run; any other leaves it open,
and the next invocation with the same manifest continues it: same id, same spent
total, the caps the latest given. Source: docs/design/protocol.md 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, null, select, update

from fluxbatch.domain.money import Caps, Micros
from fluxbatch.errors import ExitCode
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, clean, constant, insert_numbered
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import budgets, history

ENDS = frozenset(
    {
        ExitCode.DONE,
        ExitCode.SOME_FAILED,
        ExitCode.STOPPED,
        ExitCode.NO_KEY,
        ExitCode.UNKNOWN_LEFT,
    }
)

_r, _p = schema.runs.c, schema.predictions.c
_FIND = Statement(
    lambda _: (
        select(_r.seq, _r.id)
        .where(_r.manifest_seq == bindparam("manifest_seq"), _r.ended_at.is_(None))
        .order_by(_r.seq.desc())
        .limit(constant(1))
        .offset(constant(0))
    )
)
_FIND_NAMED = Statement(
    lambda _: select(_r.seq, _r.id).where(_r.id == bindparam("run_id"), _r.ended_at.is_(None))
)
_INSERT = Statement(
    lambda d: insert_numbered(
        d,
        schema.runs,
        ("id", "manifest_seq", "started_at", "settings_json", "tool_version", "host", "pid"),
    )
)
_CONTINUE = Statement(
    lambda _: (
        update(schema.runs)
        .where(_r.seq == bindparam("run_seq"))
        .values(
            continued_at=bindparam("at"),
            exit_code=null(),
            reason=null(),
            invocations=_r.invocations + constant(1),
            settings_json=bindparam("settings"),
            tool_version=bindparam("version"),
            host=bindparam("on_host"),
            pid=bindparam("with_pid"),
        )
    )
)
_END = Statement(
    lambda _: (
        update(schema.runs)
        .where(_r.seq == bindparam("run_seq"))
        .values(ended_at=bindparam("ended"), exit_code=bindparam("code"), reason=bindparam("why"))
    )
)
_HIGHEST = Statement(
    lambda _: (
        select(func.max(_p.cost))
        .join_from(schema.predictions, schema.runs, _r.seq == _p.run_seq)
        .join(schema.manifests, schema.manifests.c.seq == _r.manifest_seq)
        .where(schema.manifests.c.model == bindparam("model"))
    )
)
"""By the run, not by the job: an index has a run's costs, and a run has one manifest's model."""


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """The run this invocation works on."""

    seq: int
    run_id: str
    continued: bool
    highest_cost: Micros
    """The most one prediction of the model has ever cost in this dataset."""
    manifest_seq: int


@dataclass(frozen=True, slots=True)
class OpenRun:
    """Continue the manifest's run that has not ended, else begin one."""

    at: Timestamp
    new_id: str
    manifest_seq: int
    model: str
    caps: Caps
    budget_day: str
    settings_json: str
    tool_version: str
    host: str
    pid: int
    is_named: bool = False
    """`new_id` is the user's own name of the run: no other one is continued."""

    def apply(self, db: Database) -> OpenedRun:
        if self.is_named:
            found = db.run(_FIND_NAMED, {"run_id": self.new_id})
        else:
            found = db.run(_FIND, {"manifest_seq": self.manifest_seq})
        seq, run_id = found[0] if found else (self._begin(db), self.new_id)
        if found:
            self._continue(db, seq)
        budgets.open_lines(db, run_id, self.budget_day, self.caps)
        ((highest,),) = db.run(_HIGHEST, {"model": self.model})
        event, was = ("continued", "open") if found else ("started", None)
        history.append(
            db, ("run", seq), event, at=utc_text(self.at), change=(was, "open"), run_seq=seq
        )
        return OpenedRun(seq, run_id, bool(found), Micros(highest or 0), self.manifest_seq)

    def _begin(self, db: Database) -> int:
        return db.insert(
            _INSERT,
            {
                "id": self.new_id,
                "manifest_seq": self.manifest_seq,
                "started_at": utc_text(self.at),
                "settings_json": self.settings_json,
                "tool_version": self.tool_version,
                "host": self.host,
                "pid": self.pid,
            },
        )

    def _continue(self, db: Database, seq: int) -> None:
        db.run(
            _CONTINUE,
            {
                "run_seq": seq,
                "at": utc_text(self.at),
                "settings": self.settings_json,
                "version": self.tool_version,
                "on_host": self.host,
                "with_pid": self.pid,
            },
        )


@dataclass(frozen=True, slots=True)
class EndRun:
    """Write down how this invocation ended; whether the run did follows from its exit code."""

    at: Timestamp
    run_seq: int
    exit_code: ExitCode
    reason: str

    def apply(self, db: Database) -> None:
        ended = utc_text(self.at) if self.exit_code in ENDS else None
        db.run(
            _END,
            {
                "run_seq": self.run_seq,
                "ended": ended,
                "code": int(self.exit_code),
                "why": clean(self.reason),
            },
        )
        history.append(db, ("run", self.run_seq), f"exit {int(self.exit_code)}",
                       at=utc_text(self.at), change=("open", "ended" if ended else "open"),
                       run_seq=self.run_seq, reason=self.reason)  # fmt: skip
