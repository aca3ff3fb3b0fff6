"""A run that several processes work on: opened by the first, ended by the last.

Owns `run_gates`: the caps, the limit of creates, the failures that are one too many and the stop
that hold for the run as a whole, whoever asks. Each operation is applied in the dataset's turn.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from fluxbatch.domain.failure_cap import FailureCap
from fluxbatch.domain.money import SCOPES, as_usd
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError, HeldElsewhere
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import clean, postgres_statement
from fluxbatch.ledger.operations.control import set_run_cap
from fluxbatch.ledger.operations.runs import EndRun, OpenedRun, OpenRun
from fluxbatch.ledger.sharing.run_controls import read_controls, write_controls
from fluxbatch.ledger.sharing.workers import described, if_dead, leave, work_on, workers


class RunHasEnded(FluxbatchError):
    """The run of that name has ended: it is told of, and nothing is bought."""


class EndedRun(NamedTuple):
    """A run that is over."""

    seq: int
    run_id: str
    manifest_seq: int
    exit_code: ExitCode
    reason: str


_ENDED = postgres_statement(
    "SELECT seq, id, manifest_seq, exit_code, reason FROM runs"
    " WHERE id = :name AND ended_at IS NOT NULL"
)
_OPEN = postgres_statement(
    "SELECT seq, id, manifest_seq FROM runs WHERE id = :name AND ended_at IS NULL"
)
_IS_OVER = postgres_statement("SELECT seq FROM runs WHERE seq = :run_seq AND ended_at IS NOT NULL")
_AT_WORK = postgres_statement("SELECT id, manifest_seq FROM runs WHERE seq = :run_seq")
_NAMED = postgres_statement("SELECT manifest_seq FROM runs WHERE id = :name")
_GATE = postgres_statement("SELECT caps FROM run_gates WHERE run_seq = :run_seq")
_OPEN_GATE = postgres_statement(
    """
    INSERT INTO run_gates (
        run_seq, caps, most_creates, failure_cap, most_failures, failed_share, most_alike
    ) VALUES (
        :run_seq, :caps, :most_creates, :failure_cap, :most_failures, :failed_share, :most_alike
    )
    ON CONFLICT (run_seq) DO UPDATE SET caps = excluded.caps,
        most_creates = excluded.most_creates, failure_cap = excluded.failure_cap,
        most_failures = excluded.most_failures, failed_share = excluded.failed_share,
        most_alike = excluded.most_alike, ends = 0, failures = 0, latest_failure = NULL, alike = 0,
        stop_code = NULL, stop_reason = NULL
    """
)
_STOP = postgres_statement(
    "UPDATE run_gates SET stop_code = :code, stop_reason = :reason"
    " WHERE run_seq = :run_seq AND stop_code IS NULL"
)
_STOPPED = postgres_statement(
    "SELECT stop_code, stop_reason FROM run_gates WHERE run_seq = :run_seq"
)


def ended_run(db: Database, name: str) -> EndedRun | None:
    """The run of that name, where it is over."""
    for seq, run_id, manifest_seq, code, reason in db.run(_ENDED, {"name": name}):
        return EndedRun(seq, run_id, manifest_seq, ExitCode(code), reason or "")
    return None


def left_run(db: Database, name: str, reason: str) -> EndedRun | None:
    """The run of that name, as who has left it tells of it: it can go on."""
    for seq, run_id, manifest_seq in db.run(_OPEN, {"name": name}):
        return EndedRun(seq, run_id, manifest_seq, ExitCode.INTERRUPTED, reason)
    return None


def stop_run(db: Database, run_seq: int, code: ExitCode, reason: str) -> None:
    """Nothing more is bought by anybody; the first reason stays."""
    db.run(_STOP, {"run_seq": run_seq, "code": int(code), "reason": clean(reason)})


def stopped(db: Database, run_seq: int) -> tuple[ExitCode, str] | None:
    """Why nothing more is bought in the run, whoever said so."""
    for code, reason in db.run(_STOPPED, {"run_seq": run_seq}):
        if code is not None:
            return ExitCode(code), reason or ""
    return None


@dataclass(frozen=True, slots=True)
class OpenSharedRun:
    """Begin a run, or join the one that goes on; raises `HeldElsewhere`, `RunHasEnded`."""

    run: OpenRun
    worker: str
    most_creates: int | None
    failure_cap: FailureCap | None
    most_alike: int
    """So many predictions in a row that failed alike stop the run."""

    def apply(self, db: Database) -> OpenedRun:
        if self.run.is_named and ended_run(db, self.run.new_id) is not None:
            raise RunHasEnded(f"run {self.run.new_id!r} has ended")
        for (manifest,) in db.run(_NAMED, {"name": self.run.new_id}):
            if manifest != self.run.manifest_seq:
                raise ConfigError(
                    f"run {self.run.new_id!r} is of another manifest, or of this one before it was"
                    " changed: name another run (--run)"
                )
        others = [
            one
            for one in workers(db)
            if one.worker != self.worker and one.run_seq is not None and not one.is_silent
        ]
        for other in others:
            ((_, manifest),) = db.run(_AT_WORK, {"run_seq": other.run_seq})
            if manifest != self.run.manifest_seq:
                raise HeldElsewhere(
                    f"{described(other)} is at work on another manifest of this dataset; wait for"
                    f" it, or stop it{if_dead(other)}"
                )
        opened = self.run.apply(db)
        for other in (one for one in others if one.run_seq != opened.seq):
            ((name, _),) = db.run(_AT_WORK, {"run_seq": other.run_seq})
            raise HeldElsewhere(
                f"run {name!r} is at work on this dataset ({described(other)}): join it"
                f" (--run {name}), or begin another one when it has ended{if_dead(other)}"
            )
        caps = self._caps()
        before = [asked for (asked,) in db.run(_GATE, {"run_seq": opened.seq})]
        if others and before not in ([], [caps]):
            raise HeldElsewhere(
                f"{described(others[0])} is at work on this run with {_told(before[0])}, and this"
                f" asks for {_told(caps)}: give all its workers the same{if_dead(others[0])}"
            )
        if not others or not before:
            db.run(_OPEN_GATE, self._gate(opened.seq, caps))
        self._keep_cap(db, opened, is_same=before == [caps])
        work_on(db, self.worker, opened.seq)
        return opened

    def _keep_cap(self, db: Database, opened: OpenedRun, *, is_same: bool) -> None:
        """A cap that was changed at work holds until the run is begun again with another one."""
        controls = read_controls(db, opened.seq)
        if controls.cap is None:
            return
        if is_same:
            set_run_cap(db, opened.run_id, controls.cap)
        else:
            write_controls(db, opened.seq, controls._replace(cap=None))

    def _gate(self, run_seq: int, caps: str) -> dict[str, object]:
        cap = self.failure_cap
        return {
            "run_seq": run_seq,
            "caps": caps,
            "most_creates": self.most_creates,
            "failure_cap": str(cap) if cap is not None else None,
            "most_failures": cap.jobs if cap is not None else None,
            "failed_share": cap.share if cap is not None else None,
            "most_alike": self.most_alike,
        }

    def _caps(self) -> str:
        """Whatever has to be the same for all workers of the run."""
        caps = {scope: self.run.caps.get(scope) for scope in SCOPES}
        failures = str(self.failure_cap) if self.failure_cap is not None else None
        more = {"creates": self.most_creates, "failures": failures}
        return json.dumps({**caps, **more}, sort_keys=True)


def _told(gate: str) -> str:
    parsed = json.loads(gate)
    caps = [(scope, parsed[scope]) for scope in SCOPES]
    words = [f"${as_usd(cap)} per {scope}" for scope, cap in caps if cap is not None]
    if parsed["creates"] is not None:
        words.append(f"{parsed['creates']} creates")
    if parsed["failures"] is not None:
        words.append(f"--max-failures {parsed['failures']}")
    return ", ".join(words) or "no cap"


@dataclass(frozen=True, slots=True)
class LeaveRun:
    """This worker is done; answers whether it was the last, and so has ended the run."""

    worker: str
    end: EndRun

    def apply(self, db: Database) -> bool:
        leave(db, self.worker)
        if any(one.run_seq == self.end.run_seq and not one.is_silent for one in workers(db)):
            return False
        if db.run(_IS_OVER, {"run_seq": self.end.run_seq}):
            return False  # it stood still, and was buried by whoever ended the run
        self.end.apply(db)
        return True
