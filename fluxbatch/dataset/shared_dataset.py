"""A dataset whose ledger is in PostgreSQL, for any number of machines.

Owns how its ledger is reached and who is at work on it: workers, which share it, or one
maintenance verb, which does not. Its images are where `sink.store` says; what only passes through
this machine is in a folder of this machine. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from fluxbatch.dataset.folder import Folder
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.postgres_connection import schema_of
from fluxbatch.ledger.db.postgres_rights import NoSuchDataset
from fluxbatch.ledger.db.server_options import name_in_url
from fluxbatch.ledger.sharing.workers import is_anyone_at_work, maintaining


@dataclass(frozen=True, slots=True)
class SharedDataset(Folder):
    """`root` is this machine's folder for what passes through it."""

    server: str
    """Without a password: `postgresql://[USER@]HOST[:PORT]/DATABASE`, and its options."""
    dataset: str

    is_shared: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a name that PostgreSQL cannot keep whole."""
        schema_of(self.dataset)

    @property
    def address(self) -> str:
        """With the options of its server; none of them is a secret."""
        _, mark, options = self.server.partition("?")
        return f"{self.name}{mark}{options}"

    @property
    def name(self) -> str:
        """Without options: it is one dataset, however its server is reached."""
        server, _, _ = self.server.partition("?")
        return f"{server}/{name_in_url(self.dataset)}"

    @property
    def lasting_address(self) -> str:
        return self.address

    @property
    def told_as(self) -> str:
        return self.name

    @property
    def short_name(self) -> str:
        return self.dataset

    @property
    def ledger_place(self) -> str:
        return self.name

    def refuse_lost_ledger(self) -> None:
        """Whether a server has lost a ledger, only the server knows."""

    def lost_ledger(self) -> str | None:
        return None

    def was_in_use(self) -> bool:
        return False

    def foreign_files(self) -> list[str]:
        return []

    def has_ledger(self) -> bool:
        try:
            with self.reader():
                return True
        except NoSuchDataset:
            return False

    def writer(self) -> PostgresDatabase:
        return PostgresDatabase(self.server, self.dataset)

    def make_ledger(self) -> PostgresDatabase:
        """The same, and a new ledger where there is none; a run that is refused leaves none."""
        return PostgresDatabase(self.server, self.dataset, create=True, keep_unused=False)

    @contextmanager
    def reader(self) -> Iterator[Database]:
        with closing(PostgresDatabase(self.server, self.dataset, read_only=True)) as database:
            yield database

    def is_locked(self) -> bool:
        """Whether any process on any machine is at work on it."""
        with self.reader() as database:
            return is_anyone_at_work(database)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that writes; raise `HeldElsewhere` naming one that does."""
        with maintaining(self.writer):
            yield
