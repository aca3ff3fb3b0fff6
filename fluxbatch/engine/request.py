"""The request of one invocation of `run`: what it was asked to do, and how far it may go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fluxbatch.domain.failure_cap import FailureCap
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.session import DatasetRequest


@dataclass(frozen=True, slots=True)
class Canary:
    """A few jobs from everywhere in the manifest, before the rest is bought."""

    jobs: int
    goes_on: Callable[[RunSummary, int], Awaitable[bool]]
    """Told where the run stands and how many of them failed: whether to buy the rest."""


@dataclass(frozen=True, slots=True)
class RunRequest(DatasetRequest):
    """What one invocation is asked to do."""

    manifest: Path | None
    """None: the settings' manifest, or a sweep alone."""
    manifest_seq: int | None = None
    """Of one in the ledger, whose pending jobs are made as they are: no file is read."""
    skip_invalid: bool = False
    no_wait: bool = False
    limit: int | None = None
    """Creates at most; exit 4 where jobs are left."""
    ends_at: datetime | None = None
    """Buy only what is likely to be done by then (`--deadline`, `--max-duration`)."""
    max_failures: FailureCap | None = None
    canary: Canary | None = None
    run_name: str | None = None
    """Of a run that several processes share; one of that name that has ended is only told of."""
    most_jobs: int | None = None
    """Refuse a sweep or templates that would make more; None: however many."""
