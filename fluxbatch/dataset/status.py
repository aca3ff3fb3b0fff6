"""The numbers of `fluxbatch status`, read from a dataset's ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.job import FailureClass, JobState, Quality
from fluxbatch.domain.money import Balance
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.retry import MAY_BE_ALIVE, PAID_ALREADY
from fluxbatch.ledger.queries import quality_notes, runs_and_failures, totals
from fluxbatch.ledger.queries.history.run_changes import changes_of_run
from fluxbatch.ledger.queries.live_run import watched_run
from fluxbatch.ledger.queries.rerolled_jobs import count_rerolls

_ROWS_NAMED = 5


_REASONS_NAMED = 100


_UNKNOWN_NAMED = 100


_RUNS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FailureReasonCount:
    """One reason some jobs failed for."""

    reason: str
    jobs: int
    rows: tuple[str, ...]
    """The first that name such a job."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed jobs of one class."""

    failure: FailureClass
    jobs: int
    reasons: tuple[FailureReasonCount, ...]
    """The most frequent first; of very many different ones only some."""

    def as_json(self) -> dict[str, Any]:
        reasons = [{"reason": r.reason, "jobs": r.jobs, "rows": list(r.rows)} for r in self.reasons]
        return {"class": self.failure.value, "jobs": self.jobs, "reasons": reasons}


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """A dataset at this moment."""

    folder: Folder
    images_at: str
    """A folder, or a URL."""
    manifest: runs_and_failures.ListedManifest | None
    """The latest; None where nothing was ever imported."""
    jobs: totals.JobCounts
    totals: totals.Totals
    runs: tuple[runs_and_failures.ListedRun, ...]
    """Newest first."""
    balances: tuple[Balance, ...]
    failures: tuple[Failures, ...]
    invalid: tuple[tuple[str, str], ...]
    """The first invalid rows and why."""
    unknown: tuple[runs_and_failures.UnknownPrediction, ...]
    quality: Mapping[Quality, int]
    """How many images each note is on."""
    changes: tuple[tuple[str, str, str], ...] = ()
    """(when, what, why) of each change of the latest run by `fluxbatch ctl`."""
    waits: str = ""
    """Why the run that goes on creates nothing, or one of its lanes does not."""
    rerolls: Mapping[JobState, int] = field(default_factory=dict)
    """The jobs made by `reroll`, where `jobs` are those of the latest manifest."""
    found_by_time: int = 0
    """Successes whose create was found by its time alone, as `reconcile.sole_user` allows."""

    @property
    def failed(self) -> int:
        return self.jobs.of(JobState.FAILED) + self.jobs.invalid

    @property
    def left(self) -> int:
        """Jobs without an end."""
        return self.jobs.total - self.jobs.of(JobState.DONE) - self.jobs.of(JobState.FAILED)

    @property
    def rerolls_waiting(self) -> int:
        """Not bought yet; no run of the manifest buys them."""
        return self.rerolls.get(JobState.PENDING, 0)

    @property
    def may_retry(self) -> int:
        """Failed jobs that `retry` sends back."""
        kept = MAY_BE_ALIVE | PAID_ALREADY
        return sum(f.jobs for f in self.failures if f.failure not in kept)


def dataset_status(
    db: Database, folder: Folder, *, manifest_seq: int | None = None, has_waits: bool = True
) -> DatasetStatus:
    """Everything there is to say about *folder* now; the jobs are those of the latest manifest, or
    of the one that is named. Without *has_waits* for who reads the run's standing anyway."""
    manifest = runs_and_failures.latest_manifest(db)
    money = totals.money_lines(db)
    runs = runs_and_failures.latest_runs(db, _RUNS_SHOWN, money)
    seq = manifest_seq or (manifest.seq if manifest is not None else 0)
    jobs = totals.JobCounts({}, 0, 0, 0)
    if manifest is not None:
        jobs = totals.count_jobs(db, seq)
    rerolls = count_rerolls(db) if manifest_seq is None else {}
    if rerolls and jobs.unlisted:
        jobs = replace(jobs, unlisted=max(jobs.unlisted - rerolls.get(JobState.PENDING, 0), 0))
    return DatasetStatus(
        folder=folder,
        images_at=open_images(folder, db).address,
        manifest=manifest,
        jobs=jobs,
        totals=totals.totals(db, money),
        runs=tuple(runs),
        balances=tuple(runs_and_failures.latest_balances(db, runs[0].run_id)) if runs else (),
        failures=tuple(_failures(db, seq)),
        invalid=tuple(
            (str(name), error)
            for name, error in runs_and_failures.invalid_rows(db, seq, _ROWS_NAMED)
        )
        if jobs.invalid
        else (),
        unknown=tuple(runs_and_failures.unknown_creates(db, _UNKNOWN_NAMED)),
        quality=quality_notes.count_notes(db),
        changes=tuple(_changes(db, runs[0].run_id)) if runs else (),
        waits=_waits(db, folder, jobs) if has_waits else "",
        rerolls=rerolls,
        found_by_time=totals.count_found_by_time(db),
    )


def _changes(db: Database, run_id: str) -> Iterator[tuple[str, str, str]]:
    for line in changes_of_run(db, run_id):
        yield line.at, line.change, line.reason or ""


def _failures(db: Database, manifest_seq: int) -> Iterator[Failures]:
    found = runs_and_failures.failure_reasons(db, manifest_seq)
    classes = dict.fromkeys(why.failure for why in found)
    for failure in classes:
        ours = [why for why in found if why.failure is failure]
        reasons = tuple(
            FailureReasonCount(why.reason, why.jobs, _rows(db, manifest_seq, why))
            for why in ours[:_REASONS_NAMED]
        )
        yield Failures(failure, sum(why.jobs for why in ours), reasons)


def _rows(db: Database, manifest_seq: int, why: runs_and_failures.FailureReason) -> tuple[str, ...]:
    return tuple(
        str(row) for row in runs_and_failures.failed_rows(db, manifest_seq, why, _ROWS_NAMED)
    )


def _waits(db: Database, folder: Folder, jobs: totals.JobCounts) -> str:
    run = watched_run(db) if folder.is_locked() else None
    if run is None:
        return ""
    from fluxbatch.dataset.run_standing import run_standing  # the lanes' state is a running run's

    return run_standing(db, folder, run, jobs, datetime.now(UTC)).reasons
