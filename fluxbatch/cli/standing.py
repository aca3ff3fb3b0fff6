"""Where a dataset stands, in words: what failed and why, what it cost, what to run next.

Owns what `status` and the end of `run` both say. Reads the ledger on a reader's connection,
so it is right while another process is at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fluxbatch.cli.words import FAILURES, count, dollars, listed, shortened
from fluxbatch.dataset import Folder
from fluxbatch.errors import ExitCode
from fluxbatch.images import images_of
from fluxbatch.job import FailureClass, JobState, Quality
from fluxbatch.ledger import listing, notes, summaries
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.retries import MAY_BE_ALIVE, PAID_ALREADY
from fluxbatch.money import Balance, as_usd

_ROWS_NAMED = 5
_REASONS_SHOWN = 3
_REASONS_NAMED = 100
_UNKNOWN_NAMED = 100
_RUNS_SHOWN = 20
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Reason:
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
    reasons: tuple[Reason, ...]
    """The most frequent first; of very many different ones only some."""

    def as_json(self) -> dict[str, Any]:
        reasons = [{"reason": r.reason, "jobs": r.jobs, "rows": list(r.rows)} for r in self.reasons]
        return {"class": self.failure.value, "jobs": self.jobs, "reasons": reasons}


@dataclass(frozen=True, slots=True)
class Standing:
    """A dataset at this moment."""

    folder: Folder
    images_at: str
    """A folder, or a URL."""
    manifest: listing.ListedManifest | None
    """The latest; None where nothing was ever imported."""
    jobs: summaries.JobCounts
    totals: summaries.Totals
    runs: tuple[listing.ListedRun, ...]
    """Newest first."""
    balances: tuple[Balance, ...]
    failures: tuple[Failures, ...]
    invalid: tuple[tuple[str, str], ...]
    """The first invalid rows and why."""
    unknown: tuple[listing.UnknownCreate, ...]
    quality: Mapping[Quality, int]
    """How many images each note is on."""

    @property
    def failed(self) -> int:
        return self.jobs.of(JobState.FAILED) + self.jobs.invalid

    @property
    def left(self) -> int:
        """Jobs without an end."""
        return self.jobs.total - self.jobs.of(JobState.DONE) - self.jobs.of(JobState.FAILED)

    @property
    def may_retry(self) -> int:
        """Failed jobs that `retry` sends back."""
        kept = MAY_BE_ALIVE | PAID_ALREADY
        return sum(f.jobs for f in self.failures if f.failure not in kept)


def standing(db: Database, folder: Folder) -> Standing:
    """Everything there is to say about *folder* now."""
    manifest = listing.latest_manifest(db)
    runs = listing.latest_runs(db, _RUNS_SHOWN)
    seq = manifest.seq if manifest is not None else 0
    jobs = summaries.JobCounts({}, 0, 0, 0)
    if manifest is not None:
        jobs = summaries.count_jobs(db, seq)
    return Standing(
        folder=folder,
        images_at=images_of(folder, db).address,
        manifest=manifest,
        jobs=jobs,
        totals=summaries.totals(db),
        runs=tuple(runs),
        balances=tuple(listing.latest_balances(db, runs[0].run_id)) if runs else (),
        failures=tuple(_failures(db, seq)),
        invalid=tuple(
            (str(name), error) for name, error in listing.invalid_rows(db, seq, _ROWS_NAMED)
        ),
        unknown=tuple(listing.unknown_creates(db, _UNKNOWN_NAMED)),
        quality=notes.count_notes(db),
    )


def _failures(db: Database, manifest_seq: int) -> Iterator[Failures]:
    found = listing.failure_reasons(db, manifest_seq)
    classes = dict.fromkeys(why.failure for why in found)
    for failure in classes:
        ours = [why for why in found if why.failure is failure]
        reasons = tuple(
            Reason(why.reason, why.jobs, _rows(db, manifest_seq, why))
            for why in ours[:_REASONS_NAMED]
        )
        yield Failures(failure, sum(why.jobs for why in ours), reasons)


def _rows(db: Database, manifest_seq: int, why: listing.FailureReason) -> tuple[str, ...]:
    return tuple(str(row) for row in listing.failed_rows(db, manifest_seq, why, _ROWS_NAMED))


def failure_lines(now: Standing) -> Iterator[str]:
    """Counts by class, each with its meaning, its first reasons and their rows."""
    for group in now.failures:
        yield f"  {group.jobs:,} {group.failure}: {FAILURES[group.failure]}"
        for reason in group.reasons[:_REASONS_SHOWN]:
            rows = listed(list(reason.rows), reason.jobs)
            yield f"      {rows}: {shortened(reason.reason, _REASON_CHARS)}"
        if group.failure in MAY_BE_ALIVE:
            yield "      kept from `retry`: they may be alive at the provider, and be paid twice"
        more = len(group.reasons) - _REASONS_SHOWN
        if more > 0:
            yield f"      and {count(more, 'other reason')}"
    if now.jobs.invalid:
        yield f"  {now.jobs.invalid:,} invalid: the row cannot become a job"
        for _, error in now.invalid[:_REASONS_SHOWN]:
            yield f"      {shortened(error, _REASON_CHARS)}"


def money_words(totals: summaries.Totals) -> str:
    """`$1.20 spent ($0.025 an image) · $0.05 reserved`; what is nothing is left out."""
    of_it = []
    if totals.images and totals.spent:
        each = totals.spent / totals.images / 1_000_000
        of_it.append(f"${each:.4g} an image")
    if totals.on_failures:
        of_it.append(f"{dollars(totals.on_failures)} on failures")
    if totals.estimated:
        of_it.append(f"{dollars(totals.estimated)} estimated")
    parts = [f"{dollars(totals.spent)} spent" + (f" ({', '.join(of_it)})" if of_it else "")]
    if totals.reserved:
        parts.append(f"{dollars(totals.reserved)} reserved")
    if totals.at_risk:
        parts.append(f"{dollars(totals.at_risk)} at risk")
    return " · ".join(parts)


def next_lines(now: Standing, again: str, exit_code: int | None) -> list[str]:
    """What to run next, the most useful first; below each command what it does."""
    lines: list[str] = []
    for command, what in _next_steps(now, again, exit_code):
        lines += [command, f"  {what}"]
    return lines


def _next_steps(now: Standing, again: str, exit_code: int | None) -> Iterator[tuple[str, str]]:
    retry = f"fluxbatch retry {now.folder.root}"
    kept = {group.failure: group.jobs for group in now.failures}
    if now.left:
        yield again, _why_again(now, exit_code)
    if now.may_retry:
        yield retry, f"sends {count(now.may_retry, 'failed job')} back to pending; then run again"
    if paid := sum(kept.get(failure, 0) for failure in PAID_ALREADY):
        yield (
            f"fluxbatch repair {now.folder.root}",
            f"fetches the images of {count(paid, 'paid job')} again, for $0",
        )
    if uncertain := sum(kept.get(failure, 0) for failure in MAY_BE_ALIVE):
        yield (
            f"fluxbatch reconcile {now.folder.root}",
            f"asks the provider what became of {count(uncertain, 'prediction')}",
        )
    for note in (Quality.BLACK, Quality.FLAT):
        if images := now.quality.get(note, 0):
            yield (
                f"{retry} --quality {note}",
                f"sends the jobs of {count(images, f'{note} image')} back, for another seed",
            )
    if now.jobs.invalid:
        yield again, "once the invalid rows are mended in the manifest"


def _why_again(now: Standing, exit_code: int | None) -> str:
    jobs = count(now.left, "job")
    match exit_code:
        case ExitCode.STOPPED:
            return f"goes on with {jobs}; a new run has a fresh cap (--budget)"
        case ExitCode.NO_KEY:
            return f"goes on with {jobs}, once a key works: `fluxbatch keys`"
        case ExitCode.UNKNOWN_LEFT:
            return f"looks for {count(now.jobs.unknown, 'create')} without an answer again"
        case _:
            return f"goes on with {jobs}"


def standing_json(now: Standing) -> dict[str, Any]:
    """The object of `status --json`."""
    jobs, totals = now.jobs, now.totals
    return {
        "dataset": str(now.folder.root),
        "manifest": now.manifest and now.manifest.path,
        "jobs": {
            "total": jobs.total + jobs.invalid,
            "done": jobs.of(JobState.DONE),
            "failed": now.failed,
            "pending": now.left - jobs.unknown,
            "unknown": jobs.unknown,
            "by_state": {state.value: jobs.of(state) for state in JobState},
            "invalid": jobs.invalid,
            "unlisted": jobs.unlisted,
        },
        "images": totals.images,
        "images_at": now.images_at,
        "quality": {note.value: now.quality.get(note, 0) for note in Quality},
        "cost_usd": {
            "dataset": as_usd(totals.spent),
            "settled": as_usd(totals.settled),
            "estimated": as_usd(totals.estimated),
            "reserved": as_usd(totals.reserved),
            "at_risk": as_usd(totals.at_risk),
            "on_failures": as_usd(totals.on_failures),
        },
        "budgets": [_balance_json(line) for line in now.balances if line.cap is not None],
        "runs": [_run_json(run) for run in now.runs],
        "failures": [group.as_json() for group in now.failures],
        "unknown": [_unknown_json(create) for create in now.unknown],
    }


def _balance_json(line: Balance) -> dict[str, Any]:
    return {
        "scope": line.scope,
        "key": line.key,
        "cap_usd": as_usd(line.cap) if line.cap is not None else None,
        "committed_usd": as_usd(line.committed),
    }


def _run_json(run: listing.ListedRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "exit": run.exit_code,
        "reason": run.reason,
        "creates": run.creates,
        "cost_usd": as_usd(run.spent),
    }


def _unknown_json(create: listing.UnknownCreate) -> dict[str, Any]:
    return {
        "job": create.job,
        "since": create.intended_at,
        "key": create.key_label,
        "at_risk": create.at_risk,
        "reserved_usd": as_usd(create.reserved),
    }


def cap_lines(balances: Sequence[Balance]) -> Iterator[str]:
    """Each cap and what counts against it."""
    for line in balances:
        if line.cap is not None:
            name = f"{line.scope} {line.key}".rstrip()
            yield f"{dollars(line.committed)} of {dollars(line.cap)} for the {name}"
