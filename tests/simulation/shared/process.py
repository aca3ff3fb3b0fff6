"""One process of a shared run: its connections to the server, and when it stands still.

Owns that what has died, or is cut off, has no connection any more, and what the server then does:
it undoes what was not committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random

from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.ledger.db.database import NO_PARAMS, Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Params, Statement
from tests.simulation.life import Dead, Doom, Life
from tests.simulation.shared.loop import ManyProcessesLoop
from tests.simulation.shared.server import TimedDatabase, VirtualServer


@dataclass(frozen=True, slots=True)
class Still:
    """A time in which a process does nothing, and knows nothing of it."""

    for_s: float
    step: str = ""
    """From the *number*th step whose name begins so."""
    number: int | None = None
    at_s: float | None = None
    """Seconds after its start."""


class Process(Life):
    """A worker's process."""

    def __init__(
        self, name: str, doom: Doom, stills: Sequence[Still], random: Random,
        note: Callable[[str], None], slowness: float, loop: ManyProcessesLoop,
        server: VirtualServer,
    ) -> None:  # fmt: skip
        super().__init__(doom, random, lambda what: note(f"{name}: {what}"), slowness)
        self.name = name
        self.server = server
        self.commits = 0
        """Of its ledger."""
        self.workers = set[str]()
        """The names under which it has joined."""
        self.stood_still = 0
        self.loses_answers = False
        """Whether the next commit is answered by nobody: it has happened all the same."""
        self.cannot_connect = False
        self._loop = loop
        self._open: list[_Connection] = []
        self._stills = [one for one in stills if one.number is not None]
        self._seen = [0] * len(self._stills)
        self.on_step = self._may_stand_still
        self.on_death.append(self._vanish)

    def _may_stand_still(self, step: str) -> None:
        for place, one in enumerate(self._stills):
            if step.startswith(one.step):
                self._seen[place] += 1
                if self._seen[place] == one.number:
                    self.stand_still(one.for_s, step)

    def stand_still(self, for_s: float, where: str = "a moment") -> None:
        if not self.dead:
            self._note(f"stands still for {for_s:g} s at {where}")
            self.stood_still += 1
            self._loop.stand_still(self.name, for_s)

    def _vanish(self) -> None:
        self._loop.go_on(self.name)  # so that it is unwound
        self.cut_off()

    def cut_off(self) -> None:
        """Its connections end, and with them what was not committed."""
        for connection in self._open:
            with suppress(LedgerError):
                connection.rollback()
            connection.close()
        self._open.clear()

    def be_cut_off(self, is_so: bool) -> None:
        """Whether the server is out of its reach."""
        self._note("cannot reach the server" if is_so else "may reach the server again")
        self.cannot_connect = is_so
        if is_so:
            self.cut_off()

    def lose_an_answer(self) -> None:
        self.loses_answers = True

    def connect(self, dataset: str, *, is_books: bool = False, **how: bool) -> PostgresDatabase:
        if self.dead:
            raise Dead("connect")
        if self.cannot_connect:
            raise DatabaseFailed(f"cannot open the ledger {dataset!r}: nobody listens")
        connection = _Connection(self, dataset, is_books=is_books, **how)
        self._open.append(connection)
        return connection

    def committed(self, connection: _Connection) -> None:
        self.commits += connection.is_books
        if self.loses_answers:
            self.loses_answers = False
            self._note("the answer to a commit is lost")
            self.cut_off()
            raise DatabaseFailed("the connection died before the answer")


class _Connection(TimedDatabase):
    """The real one, of one process."""

    def __init__(self, process: Process, dataset: str, *, is_books: bool, **how: bool) -> None:
        self._process = process
        self.is_books = is_books
        super().__init__(process.server, dataset, **how)

    def run(self, statement: Statement, params: Params = NO_PARAMS) -> list[DbRow]:
        if isinstance(params, Mapping) and "worker" in params:
            self._process.workers.add(str(params["worker"]))
        return super().run(statement, params)

    def commit(self) -> None:
        super().commit()
        self._process.committed(self)


@dataclass(frozen=True, slots=True)
class SimDataset(SharedDataset):
    """A shared dataset as one process reaches it."""

    process: Process

    def writer(self) -> PostgresDatabase:
        return self.process.connect(self.dataset)

    def make_ledger(self) -> PostgresDatabase:
        return self.process.connect(self.dataset, is_books=True, create=True)

    @contextmanager
    def reader(self) -> Iterator[Database]:
        database = self.process.connect(self.dataset, read_only=True)
        try:
            yield database
        finally:
            database.close()
