"""The control of a run that several processes share: what was asked of it, and who has done it.

Owns `run_gates.controls` with its number, which rises with each change, and what each worker says
of itself. A pause, a lane that is off and a cap hold from their commit on, for each intent looks
at them; limits hold for a worker once it has read them. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from fluxbatch.domain.control import because
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import clean, postgres_statement
from fluxbatch.ledger.sharing.workers import Worker, workers


class RunControls(NamedTuple):
    """What was asked of a run at work; None: what its settings say."""

    number: int = 0
    paused: str | None = None
    """The reason, perhaps an empty one; None: it goes on."""
    creates: int | None = None
    slots: int | None = None
    lanes_off: frozenset[str] = frozenset()
    """By account."""
    cap: Micros | None = None
    """Of the run."""
    latest: str = ""
    """The last change, as people are told of it."""

    def forbids(self, account: str) -> bool:
        """Whether no create may be intended on that lane."""
        return self.paused is not None or account in self.lanes_off

    @property
    def in_force(self) -> str:
        """All that is otherwise than the settings say, in words; empty where nothing is."""
        words = []
        if self.paused is not None:
            words.append(f"paused{because(self.paused)}")
        if self.cap is not None:
            words.append(f"budget {dollars(self.cap)}")
        limits = {"limits.creates": self.creates, "limits.slots": self.slots}
        words += [f"{name} {most}" for name, most in limits.items() if most is not None]
        if self.lanes_off:
            words.append(f"lanes off: {len(self.lanes_off)}")
        return ", ".join(words)


class Obedience(NamedTuple):
    """How a worker that has a run stands."""

    worker: Worker
    number: int | None
    """Of the controls that it has read last; None: it is about to read them."""
    lanes: Sequence[dict[str, Any]]
    """Each of them as it is there, under the names of `ctl show`, with its `account`."""


_READ = postgres_statement("SELECT control_number, controls FROM run_gates WHERE run_seq = :run")
_WRITE = postgres_statement(
    """
    UPDATE run_gates SET control_number = control_number + 1, controls = :controls
    WHERE run_seq = :run RETURNING control_number
    """
)
_TELL = postgres_statement("UPDATE workers SET obeys = :number, lanes = :lanes WHERE id = :worker")
_TOLD = postgres_statement("SELECT id, obeys, lanes FROM workers")


def read_controls(db: Database, run_seq: int) -> RunControls:
    """What holds for the run now."""
    for number, text in db.run(_READ, {"run": run_seq}):
        return controls_from(number, text)
    return RunControls()


def controls_from(number: int, text: str | None) -> RunControls:
    """The controls as a row of `run_gates` has them."""
    if text is None:
        return RunControls(number=int(number))
    asked = json.loads(text)
    lanes_off = frozenset(asked.pop("lanes_off"))
    return RunControls(number=int(number), lanes_off=lanes_off, **asked)


def write_controls(db: Database, run_seq: int, controls: RunControls) -> int:
    """In place of what was asked before; answers their number."""
    asked = {
        **controls._asdict(),
        "paused": clean(controls.paused),
        "lanes_off": sorted(controls.lanes_off),
        "latest": clean(controls.latest),
    }
    del asked["number"]
    ((number,),) = db.run(_WRITE, {"run": run_seq, "controls": json.dumps(asked)})
    return int(number)


def tell_lanes(db: Database, worker: str, number: int, lanes: Sequence[dict[str, Any]]) -> None:
    """This worker does what the controls of that number ask, and its lanes are so."""
    db.run(_TELL, {"worker": worker, "number": number, "lanes": json.dumps(lanes)})


def obedience(db: Database, run_seq: int | None = None) -> list[Obedience]:
    """Every worker that lives and has a run (or that run), in the order in which they came."""
    told = {name: (number, json.loads(lanes)) for name, number, lanes in db.run(_TOLD)}
    return [
        Obedience(one, *told.get(one.worker, (None, ())))
        for one in workers(db)
        if one.run_seq is not None and not one.is_silent and run_seq in {None, one.run_seq}
    ]
