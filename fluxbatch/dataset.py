"""A dataset: a folder that holds images and one ledger.

Owns where things lie in it and who may write: one process at a time, by a lock that
dies with its holder. Source: design.md, words.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fluxbatch.errors import ConfigError, HeldElsewhere, SinkError
from fluxbatch.ledger.database import SqliteDatabase


@dataclass(frozen=True, slots=True)
class Folder:
    """The places of one dataset."""

    root: Path

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def webhook_key(self) -> Path:
        """What webhooks' addresses are derived from; readable by its owner alone."""
        return self.root / ".webhook-key"

    @property
    def name(self) -> str:
        """How other processes are told of it."""
        return str(self.root.absolute())

    def make(self) -> None:
        """Create the folder; raise `SinkError` naming it where that fails."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SinkError(f"cannot make the dataset {str(self.root)!r}: {exc.strerror}") from exc

    @contextmanager
    def reader(self) -> Iterator[SqliteDatabase]:
        """A connection that writes nothing; raise `ConfigError` where no dataset is."""
        if not self.ledger.is_file():
            raise ConfigError(f"{str(self.root)!r} is no dataset: it has no ledger.sqlite")
        database = SqliteDatabase(self.ledger, read_only=True)
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one process that writes; raise `HeldElsewhere` naming the one that does."""
        try:
            lock = (self.root / ".lock").open("a+", encoding="utf-8")
        except OSError as exc:
            raise SinkError(f"cannot write in {str(self.root)!r}: {exc.strerror}") from exc
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise HeldElsewhere(
                    f"dataset {str(self.root)!r} is in use by {_holder(lock.read())};"
                    " wait for it, or stop it"
                ) from None
            lock.truncate(0)
            lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            lock.flush()
            yield


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"pid {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
