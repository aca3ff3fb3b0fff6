"""The state file of a lane, for its next process: lock, last creates, what still runs.

Owns one SQLite file per account and host in the folder it is told, locked while
a process holds the lane, so that two datasets never break the limits of a shared key.
It outlives a killed process, not a power cut: then the window has passed as well.
Deleted, the lane waits one window. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from asyncio import Event
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Literal

import anyio

from fluxbatch.errors import FluxbatchError, HeldElsewhere
from fluxbatch.infra import file_lock
from fluxbatch.infra.open_databases import database_closed, database_opened
from fluxbatch.infra.runtime import Timestamp, ToThread
from fluxbatch.scheduler.window_recovery import age_s

_SOON_S = 0.05
"""The ledger's next trip to a thread is likely to take along what is noted now."""
_HOUR_S = 3_600.0
CreateState = Literal["left", "running", "lost", "ended"]
"""Lost: its slot was given back, and only its own dataset can learn what became of it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS creates (
    dataset TEXT NOT NULL,
    prediction INTEGER NOT NULL,
    state TEXT NOT NULL,
    provider_id TEXT,
    counted INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    boot_us INTEGER NOT NULL,
    PRIMARY KEY (dataset, prediction)
) WITHOUT ROWID
"""
_PLACES = """
CREATE TABLE IF NOT EXISTS places (dataset TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID
"""
_PUT_PLACE = """
INSERT INTO places VALUES (?, ?) ON CONFLICT (dataset) DO UPDATE SET place = excluded.place
"""
_PUT = """
INSERT INTO creates VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (dataset, prediction) DO UPDATE SET state = excluded.state,
    provider_id = COALESCE(excluded.provider_id, provider_id), counted = excluded.counted,
    boot_id = excluded.boot_id, at_us = excluded.at_us, boot_us = excluded.boot_us
"""
_END = "UPDATE creates SET state = 'ended' WHERE dataset = ? AND prediction = ?"
_FREE = """
UPDATE creates SET state = CASE state WHEN 'left' THEN 'lost' ELSE 'ended' END
WHERE dataset = ? AND prediction = ?
"""
_DROP = "DELETE FROM creates WHERE dataset = ? AND prediction = ?"
_ALL = (
    "SELECT dataset, prediction, state, provider_id, counted, boot_id, at_us, boot_us FROM creates"
)


@dataclass(frozen=True, slots=True)
class KeptCreate:
    """One create that an earlier process made with this account."""

    dataset: str
    prediction: int
    state: CreateState
    provider_id: str | None
    counted: bool
    at: Timestamp
    """When it was answered; when it left, as long as no answer is known."""
    place: str = "another dataset"
    """Where the dataset is, as people know it."""

    @property
    def is_unanswered(self) -> bool:
        """An execution within its time may be it, whoever holds its slot."""
        return self.state in {"left", "lost"}

    @property
    def holds_slot(self) -> bool:
        return self.state in {"left", "running"}


def kept_elsewhere(folder: Path, dataset: str) -> list[KeptCreate]:
    """What other datasets than *dataset* have kept in any account's file, without its lock."""
    paths = sorted(folder.glob("*.sqlite"))
    found = [one for path in paths for one in _read_kept(path)]
    return [one for one in found if one.dataset != dataset]


def creates_at(place: str, folder: Path) -> int:
    """How many creates the accounts' files know of datasets at *place*, whatever became of them."""
    kept = (one for path in folder.glob("*.sqlite") for one in _read_kept(path))
    return sum(one.place == place for one in kept)


class LaneFile:
    """One account's file, locked from `open` to `close`. Synchronous; one thread at a time."""

    def __init__(self, account: str, dataset: str, where: str, place: Path) -> None:
        """*dataset* is the ledger's own name, *where* what other processes are told; *place* is the
        folder of such files."""
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(place / f"{account}.lock", where)
            self.path = place / f"{account}.sqlite"
            self.is_new = not self.path.exists()
            self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(_SCHEMA)
            self._connection.execute(_PLACES)
            self._connection.execute(_PUT_PLACE, (dataset, where))
        except (OSError, sqlite3.Error) as exc:
            raise FluxbatchError(f"cannot keep the lane's file in {str(place)!r}: {exc}") from exc
        self._place = database_opened(self.path)
        self.dataset = dataset
        self._in_use = threading.Lock()

    def kept(self) -> list[KeptCreate]:
        """Every create that may still matter."""
        with self._in_use:
            return _kept(self._connection)

    def put(
        self,
        prediction: int,
        state: CreateState,
        at: Timestamp,
        *,
        provider_id: str | None = None,
        counted: bool = True,
    ) -> None:
        """Write down how far a create of this dataset has come."""
        at_us, boot_us = int(at.utc.timestamp() * 1e6), int(at.boot_s * 1e6)
        values = (
            self.dataset,
            prediction,
            state,
            provider_id,
            counted,
            at.boot_id,
            at_us,
            boot_us,
        )
        self._connection.execute(_PUT, values)

    def end(self, prediction: int) -> None:
        """The prediction has ended; when it was created still counts."""
        self._connection.execute(_END, (self.dataset, prediction))

    def free(self, prediction: int, dataset: str) -> None:
        """Another dataset's holds no slot any more; without an answer it still explains one."""
        self._connection.execute(_FREE, (dataset, prediction))

    def forget_ended(self, now: Timestamp) -> None:
        """Drop what has ended a day ago; an hour certainly, since the wall clock may jump."""
        with self._in_use:
            ended = [one for one in _kept(self._connection) if not one.holds_slot]
            gone = [one for one in ended if not one.counted or _is_long_ago(one.at, now)]
            keys = [(one.dataset, one.prediction) for one in gone]
            self._connection.execute("BEGIN")
            self._connection.executemany(_DROP, keys)
            self._connection.execute("COMMIT")

    def apply(self, changes: Sequence[Callable[[LaneFile], None]]) -> None:
        """Make *changes* in one transaction; raises `FluxbatchError`."""
        with self._in_use:
            try:
                self._connection.execute("BEGIN")
                for change in changes:
                    change(self)
                self._connection.execute("COMMIT")
            except sqlite3.Error as exc:
                raise FluxbatchError(f"cannot write the lane's file {self.path}: {exc}") from exc

    def close(self) -> None:
        self._connection.close()
        database_closed(self._place)
        self._lock.close()


def kept_on_lanes_of(place: str, folder: Path) -> list[KeptCreate]:
    """What other datasets hold on the lanes that the dataset at *place* has now."""
    found = list[KeptCreate]()
    for lock in sorted(folder.glob("*.lock")):
        try:
            is_its = json.loads(lock.read_text(encoding="utf-8"))["dataset"] == place
            if is_its:
                found += _read_kept(lock.with_suffix(".sqlite"))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [one for one in found if one.holds_slot and one.place != place]


def _read_kept(path: Path) -> list[KeptCreate]:
    """From a file that another process may hold; what cannot be read is not there yet."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return _kept(connection)
    except sqlite3.Error:
        return []


def _kept(connection: sqlite3.Connection) -> list[KeptCreate]:
    try:
        places = dict(connection.execute("SELECT dataset, place FROM places"))
    except sqlite3.OperationalError:  # kept by an earlier version
        places = {}
    return [
        KeptCreate(
            dataset,
            prediction,
            state,
            provider_id,
            bool(counted),
            Timestamp(datetime.fromtimestamp(at_us / 1e6, UTC), boot_id, boot_us / 1e6),
            places.get(dataset, "another dataset"),
        )
        for dataset, prediction, state, provider_id, counted, boot_id, at_us, boot_us in (
            connection.execute(_ALL)
        )
    ]


LaneChange = Callable[[LaneFile], None]


def record_left(prediction: int, at: Timestamp, file: LaneFile) -> None:
    """Its create may leave from here on."""
    file.put(prediction, "left", at)


def record_running(prediction: int, at: Timestamp, provider_id: str | None, file: LaneFile) -> None:
    """The provider has it."""
    file.put(prediction, "running", at, provider_id=provider_id)


def record_uncounted(prediction: int, at: Timestamp, file: LaneFile) -> None:
    """It did not leave, or the provider does not count it."""
    file.put(prediction, "ended", at, counted=False)


def record_refused(prediction: int, at: Timestamp, file: LaneFile) -> None:
    """The provider refused it, and may count it all the same."""
    file.put(prediction, "ended", at)


def record_ended(prediction: int, file: LaneFile) -> None:
    """Its slot is free; when it was created still counts."""
    file.end(prediction)


class LaneJournal:
    """Writes a lane's file from any task, many changes at a time, on the ledger's trips or its
    own."""

    def __init__(self, file: LaneFile, to_thread: ToThread) -> None:
        self.file = file
        self._to_thread = to_thread
        self._changes: list[LaneChange] = []
        self._wake = Event()

    def note(self, change: LaneChange) -> None:
        """Write *change* soon, in order."""
        self._changes.append(change)
        self._wake.set()

    def take(self) -> list[LaneChange]:
        """What waits to be written; its writing is the caller's now."""
        changes, self._changes = self._changes, []
        return changes

    def write(self, changes: Sequence[LaneChange]) -> None:
        """Make *changes*; returned, a killed process would not lose them. Blocks."""
        if changes:
            self.file.apply(changes)

    async def run(self) -> None:
        """Write what nobody else has taken, until cancelled; `flush` writes what is left."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            await anyio.sleep(_SOON_S)
            if self._changes:
                await self._to_thread(partial(self.write, self.take()))

    def flush(self) -> None:
        """Write what is left, on the caller's thread, once `run` has ended."""
        self.write(self.take())


def _is_long_ago(then: Timestamp, now: Timestamp) -> bool:
    return now.utc - then.utc > timedelta(days=1) and age_s(then, now) > _HOUR_S


def _locked(path: Path, dataset: str) -> IO[str]:
    """The open lock file, holding who holds it; raise `HeldElsewhere` naming the holder."""
    lock = path.open("a+", encoding="utf-8")
    try:
        is_ours = file_lock.take(lock)
    except PermissionError:  # a network's file system says so
        is_ours = False
    except OSError:
        lock.close()
        raise
    if not is_ours:
        with lock:
            holder = file_lock.holder_of(lock, "dataset {dataset!r} (pid {pid})")
            raise HeldElsewhere(f"the key is in use by {holder}")
    file_lock.sign(lock, {"dataset": dataset, "pid": os.getpid()})
    return lock
