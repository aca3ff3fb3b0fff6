"""A dataset's standing in words."""

from __future__ import annotations

from collections.abc import Iterator

from fluxbatch.cli.standing import Standing, cap_lines, failure_lines, money_words, next_lines
from fluxbatch.cli.words import QUALITY, count, dollars, folded
from fluxbatch.job import JobState
from fluxbatch.ledger.listing import ListedRun

_LABEL = 10
_RUNS_SHOWN = 5
_UNKNOWN_SHOWN = 5


def status_lines(now: Standing, width: int | None = None) -> Iterator[str]:
    """The standing, line by line; on a terminal *width* columns wide none is longer."""
    for line in _lines(now):
        yield from folded(line, width, hang=2 if line.startswith(" ") else _LABEL)


def _lines(now: Standing) -> Iterator[str]:
    yield _line("dataset", str(now.folder.root))
    if now.manifest is None:
        yield _line("manifest", "none was ever run here")
        return
    name = now.manifest.path or "a sweep alone"
    half = "" if now.manifest.imported else ", its import was cut short"
    yield _line("manifest", f"{name} ({count(now.manifest.rows, 'row')}{half})")
    yield _line("jobs", _jobs(now))
    yield _line("images", f"{now.totals.images:,} in {now.images_at}")
    if now.quality:
        yield _line("quality", _quality(now))
    yield _line("money", money_words(now.totals))
    yield from _labelled("budget", list(cap_lines(now.balances)))
    held = now.folder.is_held()
    runs = [_run(run, goes_on=held and not number) for number, run in enumerate(now.runs)]
    yield from _labelled("runs", runs[:_RUNS_SHOWN])
    if len(now.runs) > _RUNS_SHOWN:
        yield _line("", "and earlier ones (all of them: the view `costs`)")
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
        [f"fluxbatch watch {now.folder.root}", "  the screen of the run that goes on"]
        if goes_on
        else next_lines(now, "the same `fluxbatch run` again", last)
    )
    yield from _labelled("next", steps or ["nothing: every job has its end"])


def _quality(now: Standing) -> str:
    return ", ".join(f"{images:,} {QUALITY[note]}" for note, images in now.quality.items())


def _jobs(now: Standing) -> str:
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


def _run(run: ListedRun, *, goes_on: bool) -> str:
    if run.ended_at is not None:
        end = f"exit {run.exit_code}"
    elif run.exit_code is not None:
        end = f"exit {run.exit_code}, to be continued"
    else:
        end = "goes on" if goes_on else "was killed; to be continued"
    when = run.started_at[:16].replace("T", " ")
    return f"{run.run_id}  {when}  {count(run.creates, 'create')}, {dollars(run.spent)}, {end}"


def _unknown(now: Standing) -> Iterator[str]:
    yield f"{count(len(now.unknown), 'create')} without a known outcome"
    for create in now.unknown[:_UNKNOWN_SHOWN]:
        risk = f", {dollars(create.reserved)} at risk" if create.at_risk else ""
        since = create.intended_at[:19].replace("T", " ")
        yield f"  job {create.job[:8]}, sent {since} UTC with key {create.key_label}{risk}"
    if more := len(now.unknown[_UNKNOWN_SHOWN:]):
        yield f"  and {more} more"


def _labelled(label: str, texts: list[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield _line(label if number == 0 else "", text)


def _line(label: str, text: str) -> str:
    return f"{label:{_LABEL}}{text}"
