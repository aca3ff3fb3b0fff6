"""The user's `retry`, applied to a dataset's ledger and told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fluxbatch.cli.words import count
from fluxbatch.dataset import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.job import FailureClass
from fluxbatch.ledger.database import SqliteDatabase
from fluxbatch.ledger.retries import PAID_ALREADY, Retried, Retry
from fluxbatch.ledger.writer import commit
from fluxbatch.seams import SystemClock


def parse_kinds(names: Sequence[str]) -> tuple[FailureClass, ...]:
    """The classes *names* are; raise `ConfigError` with those there are."""
    try:
        return tuple(FailureClass(name) for name in names)
    except ValueError as exc:
        raise ConfigError(f"{exc}; there are {', '.join(FailureClass)}") from None


def apply_retry(folder: Folder, kinds: Sequence[FailureClass]) -> Retried:
    """Change the ledger, as the one process that may."""
    with folder.reader():
        pass  # no dataset, no lock file
    with folder.held():
        database = SqliteDatabase(folder.ledger)
        try:
            retried = commit(database, Retry(SystemClock().now(), kinds))
            database.checkpoint()
        finally:
            database.close()
    return retried


def retried_lines(retried: Retried, folder: Folder) -> Iterator[str]:
    """How many went back, and why the others stayed."""
    yield f"{count(retried.jobs, 'failed job')} back to pending"
    for failure, jobs in retried.kept.items():
        if failure in PAID_ALREADY:
            why = (
                f"paid already; `fluxbatch repair {folder.root}` fetches them for nothing,"
                f" `--kind {failure}` buys them again"
            )
        else:
            why = (
                "their predictions may still be alive, and would be paid twice;"
                f" `fluxbatch reconcile {folder.root}` reads them again"
            )
        yield f"  {jobs:,} {failure} left alone: {why}"
    if retried.jobs:
        yield f"next: the same `fluxbatch run … --out {folder.root}` again"
