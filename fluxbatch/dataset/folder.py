"""A dataset: a folder that holds images and one ledger.

Owns where things lie in it and who may write: one process at a time, by a lock that
dies with its holder. Source: docs/glossary.md.
"""

from __future__ import annotations

import os
import random
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from fluxbatch.domain.filenames import output_of_name
from fluxbatch.domain.formatting import shell_word
from fluxbatch.errors import ConfigError, HeldElsewhere, SinkError
from fluxbatch.infra import file_lock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase, stored_version
from fluxbatch.sink import refuse_link

RUN_LOG = "run.log"
"""What a detached run says."""
_LEDGER = "ledger.sqlite"
_OURS = (
    *(f"{_LEDGER}{ending}" for ending in ("", "-wal", "-shm", "-journal")),
    *(".lock", ".webhook-key", ".control", "images", "tmp", "controls", "manifests"),
    *("ratings.sqlite", "ratings.sqlite-journal", RUN_LOG),
)
"""What a run writes, or writes in; the folder may be a stranger's, so none of it may be a link."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""What a `Path` has made of a URL; a drive has one letter."""
LOOKERS_WAIT_S = 10.0
"""How long a process that begins waits for those who only look; each looks for microseconds."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The places of one dataset."""

    root: Path

    is_shared: ClassVar[bool] = False
    """Whether several processes may work on it at once."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a URL, which would become folders of its parts, a password's
        among them; it is not repeated."""
        if (url := _URL.match(str(self.root))) is not None:
            raise ConfigError(
                f"a dataset is a folder, and a URL of {url[1]!r} was given; name a folder of this"
                " machine, or postgresql://HOST/DATABASE/NAME (images alone may be elsewhere:"
                " sink.store)"
            )

    @property
    def ledger(self) -> Path:
        return self.root / _LEDGER

    @property
    def address(self) -> str:
        """By this, another process opens the same dataset (`dataset_at`)."""
        return str(self.root)

    @property
    def lasting_address(self) -> str:
        """The same from every working directory."""
        return self.name

    @property
    def told_as(self) -> str:
        """What notifications call it."""
        return self.address

    @property
    def typed(self) -> str:
        """The same as it is typed into a shell: quoted where one needs it."""
        return shell_word(self.address)

    @property
    def short_name(self) -> str:
        """A title: the folder's own name."""
        return self.root.resolve().name

    @property
    def ledger_place(self) -> str:
        """Where people find the ledger."""
        return str(self.ledger)

    def has_ledger(self) -> bool:
        """Whether there is a ledger to be read."""
        return self.ledger.is_file()

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
    def control(self) -> Path:
        """The socket at which a run at work takes commands."""
        return self.root / ".control"

    @property
    def webhook_key(self) -> Path:
        """What webhooks' addresses are derived from; readable by its owner alone."""
        return self.root / ".webhook-key"

    @property
    def name(self) -> str:
        """The name by which other processes are shown it."""
        return str(self.root.absolute())

    def make(self) -> None:
        """Create the folder; raise `ConfigError` naming it where that fails, or what is in it
        leads elsewhere."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            os.stat(self.root / _LEDGER)  # a folder that may not be entered says so here
        except FileNotFoundError:
            pass
        except OSError as exc:
            why = "a file is in its place" if isinstance(exc, FileExistsError) else exc.strerror
            raise ConfigError(f"cannot make the dataset {str(self.root)!r}: {why}") from exc
        self.refuse_links()

    def refuse_links(self) -> None:
        """Raise `ConfigError` where something of ours is a link: it would be followed."""
        for name in _OURS:
            refuse_link(str(self.root / name))

    def refuse_lost_ledger(self) -> None:
        """Raise `ConfigError` where images of ours are here and what was paid for them is not
        written down any more: a new ledger would buy everything again."""
        if (what := self.lost_ledger()) is None or (image := self._an_image()) is None:
            return
        raise ConfigError(
            f"{str(self.root)!r} has images ({image!r}) and its {_LEDGER} is {what}: all of them"
            " would be bought again. Put the ledger back from a copy, or rebuild it from the"
            f" images:  fluxbatch recover {self.typed}  (to begin anew, name"
            " another folder)"
        )

    def lost_ledger(self) -> str | None:
        """How the ledger is not there: `gone`, `empty`; None where it is.

        Only SQLite opens it: a handle of ours that is closed would drop every lock that this
        process has on it. Source: docs/design/protocol.md 7.
        """
        try:
            found = os.lstat(self.ledger)
        except FileNotFoundError:
            return "gone"
        except OSError:
            return None  # whoever opens it says why
        if not stat.S_ISREG(found.st_mode):
            return None
        return "empty" if not found.st_size or stored_version(self.ledger) == 0 else None

    def was_in_use(self) -> bool:
        """Whether a process has held the lock here, ever."""
        return os.path.lexists(self.root / ".lock")

    def _an_image(self) -> str | None:
        """One that the dataset has, or a sidecar; None where it has none."""
        for folder, _, names in os.walk(self.images):
            for name in names:
                if output_of_name(name) is not None:
                    return str(Path(folder, name).relative_to(self.root))
        return None

    @contextmanager
    def reader(self) -> Iterator[Database]:
        """A connection that writes nothing; raise `ConfigError` where no dataset is."""
        self.refuse_links()
        self.refuse_lost_ledger()
        if not self.ledger.is_file():
            raise ConfigError(f"{str(self.root)!r} is no dataset: it has no ledger.sqlite")
        database = SqliteDatabase(self.ledger, read_only=True)
        try:
            yield database
        finally:
            database.close()

    def writer(self) -> Database:
        """The connection that writes, to be closed; whoever asks holds the lock."""
        return SqliteDatabase(self.ledger)

    def make_ledger(self) -> Database:
        """The same, and a new ledger where there is none."""
        return self.writer()

    def foreign_files(self) -> list[str]:
        """What is in a folder that is no dataset yet, but for what a manifest was kept in."""
        try:
            if self.ledger.exists() or not self.root.is_dir():
                return []
            ours = {"manifests", RUN_LOG}
            return sorted(path.name for path in self.root.iterdir() if path.name not in ours)
        except PermissionError:
            return []  # `make` says so

    def is_locked(self) -> bool:
        """Whether a process is at work here: it holds the lock."""
        try:
            lock = self._open_lock(os.O_RDONLY)
        except OSError:
            return False
        with lock:
            return not file_lock.take(lock, shared=True)

    def _open_lock(self, how: int) -> IO[str]:
        handle = os.open(self.root / ".lock", how | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        return os.fdopen(handle, "r+" if how & os.O_RDWR else "r", encoding="utf-8")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that writes; raise `HeldElsewhere` naming the one that does."""
        self.refuse_links()
        try:
            lock = self._open_lock(os.O_RDWR | os.O_CREAT)
        except OSError as exc:
            raise SinkError(f"cannot write in {str(self.root)!r}: {exc.strerror}") from exc
        with lock:
            if not _locks(lock):
                holder = file_lock.holder_of(lock, "pid {pid} on {host}")
                raise HeldElsewhere(
                    f"dataset {str(self.root)!r} is in use by {holder}; wait for it, or stop it"
                )
            file_lock.sign(lock, {"pid": os.getpid(), "host": socket.gethostname()})
            yield


def _locks(lock: IO[str]) -> bool:
    """Take the lock, past those who only look (`is_held`): they share it, a holder does not."""
    give_up = time.monotonic() + LOOKERS_WAIT_S
    while not file_lock.take(lock):
        if not file_lock.take(lock, shared=True) or time.monotonic() > give_up:
            return False
        file_lock.release(lock)
        time.sleep(random.uniform(0.001, 0.02))  # two who begin at once do not stay in step
    return True
