"""The progress display of a run: a live screen, or plain lines where there is no terminal.

Owns when something is shown; what it looks like is `screen`'s. Receives events and statuses,
reads nothing, and counts nothing: every number comes from a status.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol

from rich.live import Live
from rich.text import Text

from fluxbatch.cli.console import Console
from fluxbatch.cli.progress.eta import Eta
from fluxbatch.cli.progress.screen import ASCII_MARKS, Frame, Marks, lane_sums, screen
from fluxbatch.cli.render.text import FAILURES, count, stopping_words
from fluxbatch.domain.formatting import clock, dollars
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.events import (
    Event,
    JobFailed,
    LaneChanged,
    Noticed,
    OutputStored,
    PredictionMoved,
    RowsRead,
    RunEnded,
    RunStarted,
    Stopping,
)
from fluxbatch.ledger.queries.runs_and_failures import FailedJob

_PLAIN_EVERY_S = 10.0
_FIGURES = re.compile(r"[0-9]+")
_READING_EVERY_S = 1.0
_TROUBLES_KEPT = 5
_SAME_SHOWN = 3
"""Lines for failures of one class; the summary counts the rest."""


class Progress(Protocol):
    """Shows a run to whoever watches."""

    def hear(self, event: Event, /) -> None: ...

    def show(self, status: RunStatus, /) -> None: ...

    def aside(self) -> AbstractContextManager[object]:
        """Show nothing meanwhile: somebody is asked."""
        ...


@contextmanager
def progress(console: Console, title: str, *, is_logged: bool = False) -> Iterator[Progress]:
    """The progress that fits where stderr leads, for the length of a run.

    *is_logged*: stderr is the log's.
    """
    if is_logged:
        yield _Silent()
    elif console.quiet:
        yield _Quiet(console)
    elif sys.stderr.isatty() and not console.console.is_dumb_terminal:  # FORCE_COLOR is no terminal
        with LiveProgress(console, title).on_screen() as shown:
            yield shown
    else:
        yield PlainProgress(console)


class _Silent:
    """Nothing at all."""

    def hear(self, event: Event, /) -> None:
        pass

    def show(self, status: RunStatus, /) -> None:
        pass

    def aside(self) -> AbstractContextManager[object]:
        return nullcontext()


class _Quiet:
    """Only what should not be missed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def hear(self, event: Event, /) -> None:
        if isinstance(event, Noticed):
            self._console.warn(f"note: {event.message}")

    def show(self, status: RunStatus, /) -> None:
        pass

    def aside(self) -> AbstractContextManager[object]:
        return nullcontext()


class PlainProgress:
    """A line about every ten seconds, and one for what changes."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._now = now
        self._eta = Eta()
        self._told_s = -_PLAIN_EVERY_S
        self._read_s = now()
        self._last = ""
        self._waits = ""
        self._failures: Counter[str] = Counter()

    def hear(self, event: Event, /) -> None:
        line = self._line(event)
        if line is not None:
            self._console.info(line)

    def show(self, status: RunStatus, /) -> None:
        self._eta.update(status)
        jobs = status.jobs
        is_last = not (
            jobs.of(JobState.PENDING)
            or jobs.of(JobState.GENERATED)
            or jobs.of(JobState.ACTIVE) > jobs.in_doubt
        )
        kind = _FIGURES.sub("", status.waits)
        begins_to_wait = bool(kind) and kind != self._waits
        self._waits = kind
        due = begins_to_wait or status.elapsed_s - self._told_s >= _PLAIN_EVERY_S
        line = status_line(status, self._eta.remaining(status))
        if (due or is_last) and line.partition("]")[2] != self._last:
            self._told_s = status.elapsed_s
            self._last = line.partition("]")[2]
            self._console.info(line)

    def aside(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _line(self, event: Event) -> str | None:
        match event:
            case RowsRead() if self._now() - self._read_s >= _READING_EVERY_S:
                self._read_s = self._now()
                return reading_words(event)
            case JobFailed():
                self._failures[event.failure] += 1
                seen = self._failures[event.failure]
                if seen > _SAME_SHOWN and not self._console.verbose:
                    return None
                more = " (further ones like this are counted at the end)"
                return failure_words(event) + (more if seen == _SAME_SHOWN else "")
            case _:
                words = event_words(event)
                return words or (_detail(event) if self._console.verbose else None)


class LiveProgress:
    """One screen, drawn again with every status."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = console.redact(title)
        self._eta = Eta()
        self._troubles: deque[str] = deque(maxlen=_TROUBLES_KEPT)
        is_utf = console.console.encoding.lower().startswith("utf")
        self._marks = Marks() if is_utf else ASCII_MARKS
        self._said: deque[str] = deque(maxlen=_TROUBLES_KEPT)
        self._live = self._new_live()
        self._size = console.console.size
        self._read_s = time.monotonic()
        self._latest: RunStatus | None = None
        self._is_aside = False

    @contextmanager
    def on_screen(self) -> Iterator[LiveProgress]:
        """The screen is there; at the end it is gone, and the summary takes its place."""
        self._live.start()
        try:
            yield self
        finally:
            self._fit()
            self._live.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._is_aside = True
        self._fit()
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()
            self._is_aside = False

    def hear(self, event: Event, /) -> None:
        match event:
            case RowsRead():
                if not event.finished and time.monotonic() - self._read_s >= 0.2:
                    self._read_s = time.monotonic()
                    self._fit()
                    self._live.update(Text(reading_words(event), style="dim"), refresh=True)
            case LaneChanged() if event.health != "working":
                self._troubles.append(self._console.redact(event_words(event) or ""))
            case Noticed() | RunStarted():
                self._fit()
                self._said.append(self._console.redact(event_words(event) or ""))
                self._live.console.print(self._said[-1])
            case Stopping() if self._latest is not None:
                self.show(replace(self._latest, stopping=event.reason))
            case _:
                pass

    def show(self, status: RunStatus, /) -> None:
        self._latest = status = replace(
            status,
            stopping=self._console.redact(status.stopping),
            failures=tuple(_cleaned(self._console, one) for one in status.failures),
        )
        self._eta.update(status)
        if self._is_aside:
            return
        self._fit()
        width, height = self._live.console.size
        frame = Frame(
            self._title, status, self._eta.remaining(status), tuple(self._troubles), self._marks
        )
        self._live.update(screen(frame, width, height - 1), refresh=True)

    def _new_live(self) -> Live:
        return Live(console=self._console.console, auto_refresh=False, transient=True)

    def _fit(self) -> None:
        """After a change of the terminal's size begin on an empty one.

        Terminals wrap what is there anew, each in its way, so nobody knows where the last frame
        begins.
        """
        size = self._live.console.size
        if size == self._size:
            return
        self._size = size
        self._live.stop()
        self._console.console.clear()
        self._live = self._new_live()
        self._live.start()
        for line in self._said:
            self._live.console.print(line)


def _cleaned(console: Console, job: FailedJob) -> FailedJob:
    """The reason is the provider's, the row's id whoever's."""
    row = job.row and replace(job.row, user_id=job.row.user_id and console.redact(job.row.user_id))
    return replace(job, reason=console.redact(job.reason), row=row)


def status_line(status: RunStatus, left: str) -> str:
    """A status on one line."""
    jobs = status.jobs
    used, allowed, _, _ = lane_sums(status.lanes)
    parts = [f"{jobs.of(JobState.DONE):,} of {jobs.total + jobs.invalid:,} done"]
    if failed := jobs.of(JobState.FAILED) + jobs.invalid:
        parts.append(f"{failed:,} failed")
    parts.append(f"{jobs.of(JobState.ACTIVE) - jobs.in_doubt} running")
    if jobs.in_doubt:
        parts.append(f"{jobs.in_doubt} unknown")
    parts += [f"{used}/{allowed} creates", f"{dollars(status.run.spent)} spent"]
    parts.append("buying no more" if status.stopping else left)
    if status.waits and not status.stopping and status.waits not in left:
        parts.append(f"nothing is created: {status.waits}")
    return f"[{clock(status.elapsed_s)}] " + " · ".join(parts)


def reading_words(event: RowsRead) -> str:
    """How far the manifest is read."""
    bad = f", {event.invalid:,} invalid" if event.invalid else ""
    return f"reading the manifest: {count(event.rows, 'row')}{bad}"


def failure_words(event: JobFailed) -> str:
    """A failed job on one line."""
    return (
        f"job {event.job[:8]} failed ({event.failure}, {FAILURES[event.failure]}): {event.reason}"
    )


def event_words(event: Event) -> str | None:
    """The line every watcher is shown, or None for what only matters in sum."""
    match event:
        case RunStarted(run_id=run_id, continued=True):
            return (
                f"continuing run {run_id}: {event.done:,} of {count(event.jobs, 'job')} done,"
                f" {dollars(event.run_cost)} spent so far"
            )
        case RunStarted(run_id=run_id) if event.dataset_cost or event.done:
            return (
                f"new run {run_id}: {event.done:,} of {count(event.jobs, 'job')} done already;"
                f" this dataset has cost {dollars(event.dataset_cost)} so far"
            )
        case RunStarted(run_id=run_id):
            return f"run {run_id}: {count(event.jobs, 'job')}"
        case LaneChanged():
            pause = f" for {event.pause_s:.0f} s" if event.pause_s else ""
            return f"lane {event.lane}: {event.health}{pause} ({event.reason})"
        case Stopping():
            return stopping_words(event.reason)
        case Noticed():
            return f"note: {event.message}"
        case _:
            return None


def _detail(event: Event) -> str | None:
    match event:
        case PredictionMoved():
            reason = f" ({event.reason})" if event.reason else ""
            return f"job {event.job[:8]}: {event.state} on {event.lane}{reason}"
        case OutputStored():
            return f"job {event.job[:8]}: stored {event.path}"
        case RunEnded():
            return f"run {event.run_id} ended: exit {event.exit_code}, {event.reason}"
        case _:
            return None
