"""A dataset: a folder that holds images and one ledger.

Owns where things lie in it and who may write: one process at a time, by a lock that
dies with its holder. Source: docs/glossary.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fluxbatch.errors import ConfigError, HeldElsewhere, SinkError
from fluxbatch.ledger.db.sqlite import SqliteDatabase

LOOKERS_WAIT_S = 10.0
"""How long a process that begins waits for those who only look; each looks for microseconds."""


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
    def controls(self) -> Path:
        """Control images that were fetched from elsewhere."""
        return self.root / "controls"

    @property
    def unread(self) -> Path:
        """Paid bodies that could not be read as images, for `repair`."""
        return self.root / "unread"

    @property
    def webhook_key(self) -> Path:
        """What webhooks' addresses are derived from; readable by its owner alone."""
        return self.root / ".webhook-key"

    @property
    def name(self) -> str:
        """The name by which other processes are shown it."""
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

    def foreign_files(self) -> list[str]:
        """What is in a folder that is no dataset yet, but for what a manifest was kept in."""
        if self.ledger.exists() or not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.name != "manifests")

    def is_locked(self) -> bool:
        """Whether a process is at work here: it holds the lock."""
        try:
            lock = (self.root / ".lock").open(encoding="utf-8")
        except OSError:
            return False
        with lock:
            return not _flocks(lock, fcntl.LOCK_SH)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that writes; raise `HeldElsewhere` naming the one that does."""
        try:
            lock = (self.root / ".lock").open("a+", encoding="utf-8")
        except OSError as exc:
            raise SinkError(f"cannot write in {str(self.root)!r}: {exc.strerror}") from exc
        with lock:
            if not _locks(lock):
                lock.seek(0)
                raise HeldElsewhere(
                    f"dataset {str(self.root)!r} is in use by {_holder(lock.read())};"
                    " wait for it, or stop it"
                )
            lock.truncate(0)
            lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            lock.flush()
            yield


def _locks(lock: IO[str]) -> bool:
    """Take the lock, past those who only look (`is_held`): they share it, a holder does not."""
    give_up = time.monotonic() + LOOKERS_WAIT_S
    while not _flocks(lock, fcntl.LOCK_EX):
        if not _flocks(lock, fcntl.LOCK_SH) or time.monotonic() > give_up:
            return False
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(random.uniform(0.001, 0.02))  # two who begin at once do not stay in step
    return True


def _flocks(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"pid {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
