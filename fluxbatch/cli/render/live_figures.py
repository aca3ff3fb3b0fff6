"""The figures of the live page: a dataset at this moment, each figure worded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fluxbatch.cli.progress.eta import Eta
from fluxbatch.cli.progress.watch import status_of
from fluxbatch.cli.render.status import cap_lines, next_steps, reroll_words
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.slot_waits import waits_of
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_run import watched_run


class LiveFigures:
    """Answers under the names that the page's script reads, again and again.

    It remembers the pace of the run at work, for the time that is left.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._run_id = ""
        self._eta = Eta()

    def __call__(self, db: Database) -> dict[str, Any]:
        now = dataset_status(db, self._folder)
        jobs = now.jobs
        is_live = self._folder.is_locked()
        active = jobs.of(JobState.ACTIVE) - jobs.unknown + jobs.of(JobState.GENERATED)
        return {
            "name": self._folder.short_name,
            "at_work": is_live,
            "live": "a run is at work" if is_live else "no run is at work",
            "states": {
                "done": jobs.of(JobState.DONE),
                "failed": now.failed,
                "running": active,
                "unknown": jobs.unknown,
                "pending": jobs.of(JobState.PENDING),
            },
            "figures": [*_figures(now), *(self._of_run(db) if is_live else ())],
            "next": [] if is_live else _next(now),
            "failures": _failures(now),
            "runs": [
                [
                    f"{run.run_id}: {run.creates:,} creates, {dollars(run.spent)}",
                    *((", ", run.reason) if run.reason else ()),
                ]
                for run in now.runs[:8]
            ],
        }

    def _of_run(self, db: Database) -> list[tuple[str, str]]:
        """The time left, the lanes, and why nothing leaves."""
        run = watched_run(db)
        if run is None:
            return []
        status = status_of(db, run, datetime.now(UTC))
        if run.run_id != self._run_id:
            self._run_id, self._eta = run.run_id, Eta()
        self._eta.update(status)
        figures = [("Time left", self._eta.remaining(status))]
        for lane in status.lanes:
            slots = f"{lane.slots_held} of {lane.slots} slots"
            creates = f"{lane.creates_in_window} of {lane.creates} creates in {lane.window_s:g} s"
            figures.append((f"Lane {lane.label}", f"{slots}, {creates}"))
        waits = waits_of(self._folder, run, status.jobs)
        return [*figures, ("Waits", waits)] if waits else figures


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


def _failures(now: DatasetStatus) -> list[list[str]]:
    """Each as its parts: names and reasons are others' words, and may be of any script."""
    found = [
        [f"{why.jobs:,} {group.failure}: ", why.reason, " (", *_listed(why.rows), ")"]
        for group in now.failures
        for why in group.reasons[:5]
    ]
    return found + [[name, ": invalid, ", error] for name, error in now.invalid]


def _listed(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in (", ", name)][1:]


def _next(now: DatasetStatus) -> list[tuple[str, str]]:
    """(command, what it does), the most useful first."""
    last = now.runs[0].exit_code if now.runs else None
    return list(next_steps(now, "the same `fluxbatch run` again", last))
