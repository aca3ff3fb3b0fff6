"""The changes of runs at work (`fluxbatch ctl`), as the ledger's history has them.

Owns which of them are in force now, and which were while a job waited to be bought. Changes
nothing; runs on a reader's own connection. Times are the ledger's own texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import bindparam, select

from fluxbatch.domain.control import CHANGE_EVENT
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_h, _u, _r = schema.history.c, schema.runs.c, schema.rows.c


class RunLine(NamedTuple):
    """What happened to a run."""

    seq: int
    """Its place in the history of everything."""
    at: str
    run_seq: int
    was: str | None
    became: str | None
    event: str
    reason: str | None

    @property
    def change(self) -> str:
        """What `fluxbatch ctl` did, in its own words; empty where it was not that."""
        name = self.event.removeprefix(CHANGE_EVENT)
        return name if name != self.event else ""


class InForce(NamedTuple):
    """A line of a run, and the place of the one that ended it; None: nothing has."""

    line: RunLine
    until: int | None


class HeldControls(NamedTuple):
    """What was asked of a run at work and holds now; None: what its settings say."""

    paused: RunLine | None = None
    stopped: RunLine | None = None
    creates: int | None = None
    slots: int | None = None
    lanes_off: Mapping[str, RunLine] = MappingProxyType({})
    """By their labels."""


_OF_RUN = Statement(
    lambda _: (
        select(_h.seq, _h.at, _h.run_seq, _h.was, _h.became, _h.event, _h.reason)
        .join_from(schema.history, schema.runs, _u.seq == _h.run_seq)
        .where(
            _h.job_seq.is_(None),  # by the index of a job's lines: those of no job are few
            _h.subject == constant("run"),
            _u.id == bindparam("run_id"),
        )
        .order_by(_h.seq)
    )
)
_OF_JOB_S_RUNS = Statement(
    lambda _: (
        select(_h.seq, _h.at, _h.run_seq, _h.was, _h.became, _h.event, _h.reason)
        .join_from(schema.history, schema.runs, _u.seq == _h.run_seq)
        .where(
            _h.job_seq.is_(None),
            _h.subject == constant("run"),
            _u.manifest_seq.in_(select(_r.manifest_seq).where(_r.job_seq == bindparam("job_seq"))),
        )
        .order_by(_h.seq)
    )
)


def changes_of_run(db: Database, run_id: str) -> list[RunLine]:
    """Each change of the run that somebody asked for, in their order."""
    lines = map(RunLine._make, db.run(_OF_RUN, {"run_id": run_id}))
    return [line for line in lines if line.change]


def controls_in_force(db: Database, run_id: str) -> HeldControls:
    """What holds of the run now; what was asked of a process that has ended holds no more."""
    lines = map(RunLine._make, db.run(_OF_RUN, {"run_id": run_id}))
    in_force = _in_force(lines, outlive_a_process=db.name == "postgresql")
    held = {line.change: line for line, until in in_force if until is None}
    lanes = [name for name in held if name.startswith("lane ") and name.endswith(" off")]
    return HeldControls(
        held.get("paused"),
        held.get("stopped"),
        _number(held, "limits.creates "),
        _number(held, "limits.slots "),
        {name.removeprefix("lane ").removesuffix(" off"): held[name] for name in lanes},
    )


def _number(held: Mapping[str, RunLine], name: str) -> int | None:
    """Of a limit, where it was changed."""
    found = [change.removeprefix(name) for change in held if change.startswith(name)]
    return int(found[0]) if found else None


def changes_for_job(db: Database, job_seq: int) -> list[InForce]:
    """The changes of every run that might have bought the job, and the ends of such runs."""
    lines = map(RunLine._make, db.run(_OF_JOB_S_RUNS, {"job_seq": job_seq}))
    return list(_in_force(lines, outlive_a_process=db.name == "postgresql"))


def _in_force(lines: Iterator[RunLine], *, outlive_a_process: bool) -> Iterator[InForce]:
    """Each change with its end, and the end of each invocation that ended any.

    What is asked of a process is forgotten with it; of a run that processes share, with the run.
    """
    open_: dict[tuple[int, str], RunLine] = {}
    for line in lines:
        subject, is_lifted = _subject(line)
        ours = [key for key in open_ if key[0] == line.run_seq]
        if not line.change and (not outlive_a_process or line.became == "ended"):
            for key in ours:
                yield InForce(open_.pop(key), line.seq)
            if ours and line.event.startswith("exit"):
                yield InForce(line, line.seq)
        elif line.change:
            before = open_.pop((line.run_seq, subject), None)
            if before is not None:
                yield InForce(before, line.seq)
            if is_lifted:
                yield InForce(line, line.seq)
            else:
                open_[line.run_seq, subject] = line
    for line in open_.values():
        yield InForce(line, None)


def _subject(line: RunLine) -> tuple[str, bool]:
    """What the change is about, and whether it takes an earlier one of that back."""
    change = line.change
    if change in {"paused", "resumed"}:
        return "paused", change == "resumed"
    if change.startswith("lane "):
        lane, _, word = change.rpartition(" ")
        return lane, word == "on"
    return change.partition(" ")[0], False


def kept_waiting(
    changes: Sequence[InForce], waits: Sequence[tuple[int, int | None]]
) -> list[RunLine]:
    """The lines that held at any moment of *waits*: from one place in the history to another."""
    held = [
        line
        for line, until in changes
        if any(
            (last is None or line.seq < last) and (until is None or until > first)
            for first, last in waits
        )
    ]
    return sorted(held)
