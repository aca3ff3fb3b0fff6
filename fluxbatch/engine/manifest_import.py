"""The import of a manifest into the ledger: read, validated, in batches, in one pass.

Owns the order of that: nothing is submitted before the last row was read, a manifest
with bad rows leaves nothing behind, and one that was imported before is not read
again unless a file it names has changed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic

from fluxbatch.config.settings import Settings
from fluxbatch.dataset.control_copies import ControlCopies
from fluxbatch.dataset.imported_manifest import names_other_files
from fluxbatch.domain.job import Row
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.errors import BadRow, ConfigError, ManifestError
from fluxbatch.events import Events, Noticed, RowsRead
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.manifest_import import (
    BeginImport,
    DropImport,
    FinishImport,
    ImportRows,
    KnownManifest,
)
from fluxbatch.ledger.operations.uploads import RememberFiles, find_file
from fluxbatch.ledger.operations.uploads import StoredFileHash as KeptHash
from fluxbatch.ledger.writer import BatchCommit, Operation, R, commit
from fluxbatch.manifest import FileHash, FileStamp, Manifest
from fluxbatch.manifest.split_names import UnfitSplits
from fluxbatch.models import ModelCard

_BATCH = 2_500
_ROWS_A_COMMIT = 200_000
_BAD_ROWS_KEPT = 1_000
MayWrite = Callable[[Database], None]


class LedgerHashes:
    """Hashes of local files, kept in the ledger from run to run."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._new: list[KeptHash] = []

    def get(self, stamp: FileStamp, /) -> FileHash | None:
        kept = find_file(self._db, stamp.path)
        if kept is None or (kept.size, kept.mtime_ns, kept.inode) != stamp[1:]:
            return None
        return FileHash(kept.sha256, kept.mime)

    def put(self, stamp: FileStamp, found: FileHash, /) -> None:
        self._new.append(KeptHash(*stamp, found.sha256, found.mime))

    def taken(self) -> RememberFiles:
        """What was put since the last call."""
        new, self._new = tuple(self._new), []
        return RememberFiles(new)


@dataclass(slots=True)
class _Progress:
    rows: int = 0
    invalid: int = 0


@dataclass(frozen=True, slots=True)
class _Allowed(Generic[R]):
    """An operation of an import that has leave in its own transaction."""

    operation: Operation[R]
    may_write: MayWrite

    def apply(self, db: Database) -> R:
        self.may_write(db)
        return self.operation.apply(db)


class ManifestImporter:
    """One manifest on its way into one ledger. Uses the writer's connection before it starts."""

    def __init__(
        self,
        settings: Settings,
        card: ModelCard,
        db: Database,
        runtime: Runtime,
        events: Events,
        *,
        most_jobs: int | None = None,
        controls: Path | None = None,
        copies: ControlCopies | None = None,
        may_write: MayWrite = lambda _: None,
    ) -> None:
        """*controls*: the folder for control images that are fetched from elsewhere. *copies*:
        of local ones, where another machine may have read the manifest, or may need them.
        *may_write* raises in each transaction that may not be, for another process imports."""
        self._may_write = may_write
        self._copies = copies
        self._settings = settings
        self._card = card
        self._db = db
        self._together = BatchCommit(db)
        self._runtime = runtime
        self._events = events
        self._most_jobs = most_jobs
        self._controls = controls
        self._hashes = LedgerHashes(db)
        self._bad: list[BadRow] = []
        self._splits = UnfitSplits()

    async def read(self, path: Path | None, *, skip_invalid: bool) -> KnownManifest:
        """Import *path* (or the sweep alone) and answer its place in the ledger.

        Raises `ManifestError` with the bad rows, unless they are to be skipped; `ConfigError`.
        """
        manifest = await self._runtime.to_thread(partial(self._open, path))
        known = await self._runtime.to_thread(partial(self._begin, manifest))
        if known.imported and (skip_invalid or known.invalid_rows == 0):
            self._events.emit(RowsRead(known.rows, known.invalid_rows, finished=True))
            if self._copies is not None:
                make_up = partial(self._copies.make_up, self._db, known.seq)
                self._say_copied(await self._runtime.to_thread(make_up))
            return known
        if known.imported:
            known = await self._runtime.to_thread(partial(self._begin, manifest, anew=True))
        try:
            await self._runtime.to_thread(partial(self._refuse_too_many, manifest))
        except ConfigError:
            await self._runtime.to_thread(lambda: self._commit(DropImport(known.seq)))
            raise
        progress = await self._import(manifest, known.seq, skip_invalid)
        if progress.invalid and not skip_invalid:
            await self._runtime.to_thread(self._together.settle)
            await self._runtime.to_thread(lambda: self._commit(DropImport(known.seq)))
            raise self._refusal(manifest, progress)
        for line in self._splits.lines():
            self._events.emit(Noticed(line))
        if self._copies is not None:  # before any job can be taken
            await self._runtime.to_thread(self._together.settle)
            make = partial(self._copies.make, self._db, known.seq)
            self._say_copied(await self._runtime.to_thread(make))
        now = self._runtime.clock.now()
        finish = FinishImport(now, known.seq, progress.rows, progress.invalid)
        await self._runtime.to_thread(partial(self._finish, finish))
        return replace(known, imported=True, rows=progress.rows, invalid_rows=progress.invalid)

    def _commit(self, operation: Operation[R]) -> R:
        return commit(self._db, self._allowed(operation))

    def _allowed(self, operation: Operation[R]) -> _Allowed[R]:
        return _Allowed(operation, self._may_write)

    def _say_copied(self, copies: int) -> None:
        if copies:
            words = "control image was" if copies == 1 else "control images were"
            self._events.emit(Noticed(f"{copies:,} {words} copied to the image store"))

    def _open(self, path: Path | None) -> Manifest:
        return Manifest.named(path, self._settings, self._card, self._hashes, self._controls)

    def _refuse_too_many(self, manifest: Manifest) -> None:
        """A sweep is a few lines, and a slip in it may be a fortune."""
        if self._most_jobs is None or not manifest.multiplies:
            return
        number, is_exact = manifest.count()
        if number > self._most_jobs:
            price = self._card.price
            cost = f" for ${as_usd(Micros(number * price))}" if price is not None else ""
            raise ConfigError(
                f"{'' if is_exact else 'about '}{number:,} jobs{cost}: more than"
                f" {self._most_jobs:,} are made only with --yes; nothing was spent"
            )

    def _begin(self, manifest: Manifest, *, anew: bool = False) -> KnownManifest:
        begin = BeginImport(
            at=self._runtime.clock.now(),
            identity=manifest.identity,
            path=str(manifest.path.absolute()) if manifest.path else None,
            bytes=manifest.bytes,
            model=self._card.slug,
            settings_json=self._settings.model_dump_json(
                include={"model", "columns", "defaults", "sweep", "templates"}
            ),
            anew=anew,
            shuffle=self._settings.queue.shuffle,
        )
        known = self._commit(begin)
        if (
            known.imported
            and self._copies is None
            and names_other_files(self._db, known.seq, known.path, manifest.path, self._controls)
        ):
            return self._begin(manifest, anew=True)
        return known

    async def _import(self, manifest: Manifest, seq: int, skip_invalid: bool) -> _Progress:
        rows = manifest.rows(self._note_bad)
        progress = _Progress()
        more = True
        while more:
            more = await self._runtime.to_thread(
                partial(self._batch, rows, seq, progress, skip_invalid)
            )
            self._events.emit(RowsRead(progress.rows, progress.invalid, finished=not more))
        return progress

    def _finish(self, finish: FinishImport) -> None:
        self._together.apply(self._allowed(finish))
        self._together.settle()

    def _batch(
        self, rows: Iterator[Row], seq: int, progress: _Progress, skip_invalid: bool
    ) -> bool:
        """Read one batch, and write it unless it is known to be in vain; whether more may come."""
        with _not_collecting():
            return self._imported(list(islice(rows, _BATCH)), seq, progress, skip_invalid)

    def _imported(
        self, batch: list[Row], seq: int, progress: _Progress, skip_invalid: bool
    ) -> bool:
        progress.rows += len(batch)
        for row in batch:
            self._splits.note(row)
        progress.invalid += sum(row.job is None for row in batch)
        if batch and (skip_invalid or not progress.invalid):
            if (hashes := self._hashes.taken()).files:
                self._together.apply(self._allowed(hashes))
            shuffle = self._settings.queue.shuffle
            new = ImportRows(self._runtime.clock.now(), seq, batch, shuffle)
            self._together.apply(self._allowed(new))
            if progress.rows % _ROWS_A_COMMIT == 0:
                self._together.settle()
        return len(batch) == _BATCH

    def _note_bad(self, bad: BadRow) -> None:
        if len(self._bad) < _BAD_ROWS_KEPT:
            self._bad.append(bad)

    def _refusal(self, manifest: Manifest, progress: _Progress) -> ManifestError:
        name = repr(str(manifest.path)) if manifest.path else "the sweep"
        return ManifestError.of_rows(name, progress.invalid, progress.rows, self._bad)


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Without the collector: rows make no cycles, and the search took a tenth of an import."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
