"""The end of a run in plain words: what is done, what failed and why, what it cost, what next."""

from __future__ import annotations

from collections.abc import Iterator

from fluxbatch.cli.console import Console
from fluxbatch.cli.render.status import failure_lines, money_words, next_lines
from fluxbatch.cli.render.text import count, folded
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.formatting import dollars, duration
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.operations.runs import ENDS

_HEADLINES = {
    ExitCode.DONE: "done",
    ExitCode.SOME_FAILED: "finished, some jobs failed",
    ExitCode.STOPPED: "stopped",
    ExitCode.NO_KEY: "stopped, no usable key",
    ExitCode.UNKNOWN_LEFT: "finished but for creates without an answer",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "interrupted",
    ExitCode.ERROR: "stopped by an error",
}
_SAYS_ITSELF = (
    ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.INTERRUPTED, ExitCode.TERMINATED,
)  # fmt: skip


def tell_summary(
    console: Console,
    summary: RunSummary,
    folder: Folder,
    again: str,
    manifest_seq: int | None = None,
    *,
    anew: str | None = None,
) -> None:
    """Say how the run ended; *again* is the command that goes on with it, *manifest_seq* what it
    was of, where that is not the latest manifest. *anew*, where a run that has ended buys nothing
    more by its name, is the command that goes on by another one."""
    if console.quiet:
        return
    if anew is not None and summary.exit_code in ENDS:
        again = anew
    with folder.reader() as db:
        now = dataset_status(db, folder, manifest_seq=manifest_seq)
    for line in summary_lines(summary, now, again):
        for part in folded(line, console.width(stderr=True), hang=2):
            console.info(part)


def summary_lines(summary: RunSummary, now: DatasetStatus, again: str) -> Iterator[str]:
    """The summary, line by line."""
    jobs = summary.jobs
    total, done = jobs.total + jobs.invalid, jobs.of(JobState.DONE)
    yield ""
    headline = _HEADLINES.get(summary.exit_code, "ended")
    why = f": {summary.reason}" if summary.exit_code not in _SAYS_ITSELF else ""
    yield f"{headline}{why}"
    bought = "" if summary.run.creates else ", nothing new was bought"
    yield (
        f"  {done:,} of {count(total, 'job')} done, {count(now.totals.images, 'image')} in the"
        f" dataset, {duration(summary.seconds)}{bought}"
    )
    if now.failed:
        yield f"  {now.failed:,} failed"
        yield from (f"  {line}" for line in failure_lines(now))
    if now.left:
        yield f"  {now.left:,} left" + (f", {jobs.unknown:,} of them unknown" * bool(jobs.unknown))
    if jobs.unlisted:
        yield f"  {count(jobs.unlisted, 'pending job')} of other manifests kept, not touched"
    yield f"  this run: {money_words(summary.run)}"
    if summary.dataset.spent != summary.run.spent:
        yield f"  the dataset: {dollars(summary.dataset.spent)} in all"
    yield ""
    yield f"images   {now.images_at}"
    yield f"ledger   {now.folder.ledger_place}   (views: results, costs, failures)"
    for number, line in enumerate(next_lines(now, again, summary.exit_code)):
        yield ("next     " if number == 0 else "         ") + line
