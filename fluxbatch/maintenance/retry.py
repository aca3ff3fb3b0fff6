"""The user's `retry`, applied to a dataset's ledger."""

from __future__ import annotations

from collections.abc import Sequence

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.ledger.operations.retry import Retried, Retry
from fluxbatch.ledger.operations.retry_quality import Reseeded, RetryQuality
from fluxbatch.ledger.writer import Operation, R, commit


def apply_retry(folder: Folder, kinds: Sequence[FailureClass]) -> Retried:
    """Change the ledger, as the one process that may."""
    return apply_alone(folder, Retry(SystemClock().now(), kinds))


def apply_retry_quality(folder: Folder, notes: Sequence[Quality]) -> Reseeded:
    """The same for done jobs with images that *notes* are on."""
    return apply_alone(folder, RetryQuality(SystemClock().now(), notes))


def apply_alone(folder: Folder, operation: Operation[R]) -> R:
    """Change the ledger of a dataset that is there, holding its lock meanwhile."""
    with folder.reader():
        pass  # no dataset, no lock file
    with folder.lock():
        database = folder.writer()
        try:
            answer = commit(database, operation)
            database.checkpoint()
        finally:
            database.close()
    return answer
