"""The figures of the live page: a dataset at this moment, each figure worded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from fluxbatch.cli.progress.eta import Eta
from fluxbatch.cli.progress.watch import status_of
from fluxbatch.cli.render.status import (
    cap_lines,
    failure_step,
    next_steps,
    reroll_words,
    run_again_words,
    run_words,
)
from fluxbatch.cli.render.text import FAILURES
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_run import watched_run

_NO_RUN = "no run is at work"


class LiveFigures:
    """Answers under the names that the page's script reads, again and again.

    It remembers the pace of the run at work, for the time that is left.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._run_id = ""
        self._eta = Eta()

    def __call__(self, db: Database) -> dict[str, Any]:
        now = dataset_status(db, self._folder, has_waits=False)
        jobs = now.jobs
        is_live = self._folder.is_locked()
        active = jobs.of(JobState.ACTIVE) - jobs.unknown + jobs.of(JobState.GENERATED)
        run = watched_run(db) if is_live else None
        status = status_of(db, self._folder, run, datetime.now(UTC)) if run is not None else None
        is_paused = status is not None and status.is_paused
        live = f"a run is {'paused' if is_paused else 'at work'}" if is_live else _NO_RUN
        return {
            "name": self._folder.short_name,
            "at_work": is_live,
            "live": live,
            "states": {
                "done": jobs.of(JobState.DONE),
                "failed": now.failed,
                "running": active,
                "unknown": jobs.unknown,
                "pending": jobs.of(JobState.PENDING),
            },
            "figures": [*_figures(now), *(self._of_run(status) if status is not None else ())],
            "next": [] if is_live else _next(now),
            "failures": list(_failures(now, is_live=is_live)),
            "runs": list(_runs(now, is_live=is_live)),
        }

    def _of_run(self, status: RunStatus) -> Iterator[tuple[str, str]]:
        """The time left, the lanes, and why nothing leaves."""
        if status.run_id != self._run_id:
            self._run_id, self._eta = status.run_id, Eta()
        self._eta.update(status)
        left = self._eta.remaining(status)
        standing = "nothing is created while the run is paused" if status.is_paused else "unknown"
        yield "Time left", standing if status.waits and status.waits in left else left
        for lane in status.lanes:
            slots = f"{lane.slots_held} of {lane.slots} slots"
            creates = f"{lane.creates_in_window} of {lane.creates} creates in {lane.window_s:g} s"
            why = f"; {lane.why}" if lane.why else ""
            yield f"Lane {lane.label}", f"{slots}, {creates}{why}"
        if status.is_paused:
            again = f"fluxbatch ctl {self._folder.typed} resume"
            yield "Goes on by", again
        if status.waits:
            yield "Waits", status.waits


def _figures(now: DatasetStatus) -> list[tuple[str, str]]:
    money = now.totals
    figures = [
        ("Images", f"{money.images:,}"),
        ("Jobs left", f"{now.left:,}"),
        ("Spent", dollars(money.spent)),
        ("Reserved", dollars(money.reserved)),
        ("At risk", dollars(money.at_risk)),
    ]
    if now.rerolls:
        figures.append(("Rerolls", reroll_words(now.rerolls)))
    figures += [("Cap", line) for line in cap_lines(now.balances)]
    return figures


def _failures(now: DatasetStatus, *, is_live: bool) -> Iterator[list[str]]:
    """Each reason, and below those of a class what it means and what to do about it.

    As parts: names and reasons are others' words, and may be of any script.
    """
    later = ", once the run has ended" if is_live else ""
    for group in now.failures:
        for why in group.reasons[:5]:
            yield [f"{why.jobs:,} {group.failure}: ", why.reason, " (", *_listed(why.rows), ")"]
        command, what = failure_step(now, group.failure)
        yield [f"{group.failure} means: {FAILURES[group.failure]}. Next{later}: {command} ({what})"]
    for name, error in now.invalid:
        yield [name, ": invalid, ", error]
    if now.invalid:
        yield [f"Next{later}: mend the invalid rows in the manifest, then the same `fluxbatch run`"]


def _listed(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in (", ", name)][1:]


def _runs(now: DatasetStatus, *, is_live: bool) -> Iterator[list[str]]:
    for number, run in enumerate(now.runs[:8]):
        why = (": ", run.reason) if run.reason else ()
        yield [run_words(run, goes_on=is_live and not number), *why]


def _next(now: DatasetStatus) -> list[tuple[str, str]]:
    """(command, what it does), the most useful first."""
    last = now.runs[0].exit_code if now.runs else None
    return list(next_steps(now, run_again_words(now), last))
