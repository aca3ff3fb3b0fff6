"""The output of `status`: the state of a dataset, its failures, its cost, the next command.

Owns the lines that `status` and the end of `run` share. Reads the ledger on a reader's connection,
so it is right while another process is at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fluxbatch.cli.render.text import (
    FAILURES,
    OVERVIEW_LABEL,
    QUALITY,
    count,
    folded,
    listed,
    overview_line,
)
from fluxbatch.dataset.status import DatasetStatus
from fluxbatch.domain.control import because
from fluxbatch.domain.formatting import dollars, shortened
from fluxbatch.domain.job import FailureClass, JobState, Quality
from fluxbatch.domain.money import Balance, as_usd
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.operations.retry import MAY_BE_ALIVE, PAID_ALREADY
from fluxbatch.ledger.operations.runs import ENDS
from fluxbatch.ledger.queries import runs_and_failures, totals
from fluxbatch.ledger.queries.runs_and_failures import ListedRun

_REASONS_SHOWN = 3
_REASON_CHARS = 200


def failure_lines(now: DatasetStatus) -> Iterator[str]:
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


def money_words(totals: totals.Totals) -> str:
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


def run_again_words(now: DatasetStatus) -> str:
    """The command that goes on with the dataset, where nobody knows how it was run."""
    last = now.runs[0].exit_code if now.runs else None
    if now.folder.is_shared and last in ENDS:
        return "`fluxbatch run` again, with another `--run NAME`"
    return "the same `fluxbatch run` again"


def failure_step(now: DatasetStatus, failure: FailureClass) -> tuple[str, str]:
    """(command, what it does) for the failed jobs of one class."""
    if failure in MAY_BE_ALIVE:
        what = "asks the provider what became of them: they may be alive there, and be paid twice"
        return f"fluxbatch reconcile {now.folder.typed}", what
    if failure in PAID_ALREADY:
        return f"fluxbatch repair {now.folder.typed}", "fetches their images again, for $0"
    command = f"fluxbatch retry {now.folder.typed} --kind {failure}"
    return command, "sends them back to pending, for the next run"


def next_lines(now: DatasetStatus, again: str, exit_code: int | None) -> list[str]:
    """What to run next, the most useful first; below each command what it does."""
    lines: list[str] = []
    for command, what in next_steps(now, again, exit_code):
        lines += [command, f"  {what}"]
    return lines


def next_steps(now: DatasetStatus, again: str, exit_code: int | None) -> Iterator[tuple[str, str]]:
    """(command, what it does), the most useful first."""
    retry = f"fluxbatch retry {now.folder.typed}"
    kept = {group.failure: group.jobs for group in now.failures}
    if now.left:
        yield again, _why_again(now, exit_code)
    if exit_code == ExitCode.UNKNOWN_LEFT and now.jobs.unknown:
        creates = count(now.jobs.unknown, "create")
        yield (
            f"fluxbatch reconcile {now.folder.typed}",
            f"shows what {creates} may be, and settles",
        )
    if now.may_retry:
        yield retry, f"sends {count(now.may_retry, 'failed job')} back to pending; then run again"
    if paid := sum(kept.get(failure, 0) for failure in PAID_ALREADY):
        yield (
            f"fluxbatch repair {now.folder.typed}",
            f"fetches the images of {count(paid, 'paid job')} again, for $0",
        )
    if uncertain := sum(kept.get(failure, 0) for failure in MAY_BE_ALIVE):
        yield (
            f"fluxbatch reconcile {now.folder.typed}",
            f"asks the provider what became of {count(uncertain, 'prediction')}",
        )
    if now.rerolls_waiting:
        left = count(now.rerolls_waiting, "reroll")
        what = f"makes {left} that it has left; another one withdraws what it does not choose"
        yield "the same `fluxbatch reroll` again", what
    for note in (Quality.BLACK, Quality.FLAT):
        if images := now.quality.get(note, 0):
            yield (
                f"{retry} --quality {note}",
                f"sends the jobs of {count(images, f'{note} image')} back, for another seed",
            )
    if now.jobs.invalid:
        yield again, "once the invalid rows are mended in the manifest"


def _why_again(now: DatasetStatus, exit_code: int | None) -> str:
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


def status_json(now: DatasetStatus) -> dict[str, Any]:
    """The object of `status --json`."""
    jobs, totals = now.jobs, now.totals
    return {
        "dataset": now.folder.address,
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
        "rerolls": {state.value: now.rerolls.get(state, 0) for state in JobState},
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
        "changes": [
            {"at": at, "change": what, "reason": why or None} for at, what, why in now.changes
        ],
        "waits": now.waits,
        "found_by_time": now.found_by_time,
    }


def _balance_json(line: Balance) -> dict[str, Any]:
    return {
        "scope": line.scope,
        "key": line.key,
        "cap_usd": as_usd(line.cap) if line.cap is not None else None,
        "committed_usd": as_usd(line.committed),
    }


def _run_json(run: runs_and_failures.ListedRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "exit": run.exit_code,
        "reason": run.reason,
        "creates": run.creates,
        "cost_usd": as_usd(run.spent),
    }


def _unknown_json(create: runs_and_failures.UnknownPrediction) -> dict[str, Any]:
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


_RUNS_SHOWN = 5


_UNKNOWN_SHOWN = 5
_CHANGES_SHOWN = 5


def status_lines(now: DatasetStatus, width: int | None = None) -> Iterator[str]:
    """The standing, line by line; on a terminal *width* columns wide none is longer."""
    for line in _lines(now):
        yield from folded(line, width, hang=2 if line.startswith(" ") else OVERVIEW_LABEL)


def _lines(now: DatasetStatus) -> Iterator[str]:
    yield overview_line("dataset", now.folder.address)
    if now.manifest is None:
        yield overview_line("manifest", "none was ever run here")
        return
    name = now.manifest.path or "a sweep alone"
    half = "" if now.manifest.imported else ", its import was cut short"
    yield overview_line("manifest", f"{name} ({count(now.manifest.rows, 'row')}{half})")
    yield overview_line("jobs", _jobs(now))
    if now.rerolls:
        yield overview_line("rerolls", reroll_words(now.rerolls))
    yield overview_line("images", f"{now.totals.images:,} in {now.images_at}")
    if now.quality:
        yield overview_line("quality", _quality(now))
    yield overview_line("money", money_words(now.totals))
    yield from _labelled("budget", list(cap_lines(now.balances)))
    held = now.folder.is_locked()
    runs = [run_words(run, goes_on=held and not number) for number, run in enumerate(now.runs)]
    yield from _labelled("runs", runs[:_RUNS_SHOWN])
    if len(now.runs) > _RUNS_SHOWN:
        yield overview_line("", "and earlier ones (all of them: the view `costs`)")
    if now.changes:
        changes = [f"{at[:16].replace('T', ' ')}  {what}" + because(why)
                   for at, what, why in now.changes[-_CHANGES_SHOWN:]]  # fmt: skip
        yield from _labelled("control", changes)
    if now.found_by_time:
        found = f"{count(now.found_by_time, 'create')} that lost its answer: found by its time"
        yield overview_line("by time", f"{found} alone (`why` and the sidecar tell which)")
    if now.waits:
        yield from _labelled("waits", now.waits.split("; "))
    if now.failed:
        yield ""
        yield f"{now.failed:,} failed"
        yield from failure_lines(now)
    if now.unknown:
        yield ""
        yield from _unknown(now)
    if now.jobs.unlisted:
        yield ""
        pending = count(now.jobs.unlisted, "pending job")
        yield f"{pending} that the latest manifest does not name: kept, never submitted by it"
    yield ""
    last = now.runs[0].exit_code if now.runs else None
    goes_on = held and bool(now.runs) and now.runs[0].exit_code is None
    steps = (
        [f"fluxbatch watch {now.folder.typed}", "  the screen of the run that goes on"]
        if goes_on
        else next_lines(now, run_again_words(now), last)
    )
    yield from _labelled("next", steps or ["nothing: every job has its end"])


def reroll_words(jobs: Mapping[JobState, int]) -> str:
    """How many rerolls there are in each state."""
    waiting = jobs.get(JobState.PENDING, 0)
    ended = (JobState.DONE, JobState.FAILED)
    at_work = sum(number for state, number in jobs.items() if state not in ended) - waiting
    kinds = [
        (jobs.get(JobState.DONE, 0), "done"),
        (jobs.get(JobState.FAILED, 0), "failed"),
        (at_work, "running"),
        (waiting, "waiting for `reroll`"),
    ]
    return ", ".join(f"{number:,} {kind}" for number, kind in kinds if number)


def _quality(now: DatasetStatus) -> str:
    return ", ".join(f"{images:,} {QUALITY[note]}" for note, images in now.quality.items())


def _jobs(now: DatasetStatus) -> str:
    jobs = now.jobs
    running = jobs.of(JobState.ACTIVE) - jobs.unknown
    kinds = [
        (jobs.of(JobState.DONE), "done"),
        (jobs.of(JobState.FAILED), "failed"),
        (jobs.invalid, "invalid"),
        (running, "running"),
        (jobs.of(JobState.GENERATED), "to be fetched"),
        (jobs.of(JobState.PENDING), "pending"),
        (jobs.unknown, "unknown"),
    ]
    parts = ", ".join(f"{number:,} {kind}" for number, kind in kinds if number)
    return f"{jobs.total + jobs.invalid:,} in all: {parts or 'none'}"


def run_words(run: ListedRun, *, goes_on: bool) -> str:
    """A run on one line, with how it ended."""
    if run.ended_at is not None:
        end = f"exit {run.exit_code}"
    elif run.exit_code is not None:
        end = f"exit {run.exit_code}, to be continued"
    else:
        end = "goes on" if goes_on else "was killed; to be continued"
    when = run.started_at[:16].replace("T", " ")
    return f"{run.run_id}  {when}  {count(run.creates, 'create')}, {dollars(run.spent)}, {end}"


def _unknown(now: DatasetStatus) -> Iterator[str]:
    yield f"{count(len(now.unknown), 'create')} without a known outcome"
    for create in now.unknown[:_UNKNOWN_SHOWN]:
        risk = f", {dollars(create.reserved)} at risk" if create.at_risk else ""
        since = create.intended_at[:19].replace("T", " ")
        yield f"  job {create.job[:8]}, sent {since} UTC with key {create.key_label}{risk}"
    if more := len(now.unknown[_UNKNOWN_SHOWN:]):
        yield f"  and {more} more"


def _labelled(label: str, texts: list[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield overview_line(label if number == 0 else "", text)
