"""The figures of the live page: a dataset at this moment, each figure worded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fluxbatch.cli.progress.watch import status_of
from fluxbatch.cli.render.status import cap_lines, reroll_words
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.slot_waits import waits_of
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_run import watched_run


def live_figures(db: Database, folder: Folder) -> dict[str, Any]:
    """Under the names that the page's script reads."""
    now = dataset_status(db, folder)
    jobs = now.jobs
    is_live = folder.is_locked()
    active = jobs.of(JobState.ACTIVE) - jobs.unknown + jobs.of(JobState.GENERATED)
    return {
        "name": folder.short_name,
        "live": "a run is at work" if is_live else "no run is at work",
        "states": {
            "done": jobs.of(JobState.DONE),
            "failed": now.failed,
            "running": active,
            "unknown": jobs.unknown,
            "pending": jobs.of(JobState.PENDING),
        },
        "figures": [*_figures(now), *(_lanes(db, folder) if is_live else ())],
        "failures": [
            f"{why.jobs:,} {group.failure}: {why.reason} ({', '.join(why.rows)})"
            for group in now.failures
            for why in group.reasons[:5]
        ]
        + [f"{name}: invalid, {error}" for name, error in now.invalid],
        "runs": [
            f"{run.run_id}: {run.creates:,} creates, {dollars(run.spent)}"
            + (f", {run.reason}" if run.reason else "")
            for run in now.runs[:8]
        ],
    }


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


def _lanes(db: Database, folder: Folder) -> list[tuple[str, str]]:
    run = watched_run(db)
    if run is None:
        return []
    status = status_of(db, run, datetime.now(UTC))
    figures = []
    for lane in status.lanes:
        slots = f"{lane.slots_held} of {lane.slots} slots"
        creates = f"{lane.creates_in_window} of {lane.creates} creates in {lane.window_s:g} s"
        figures.append((f"Lane {lane.label}", f"{slots}, {creates}"))
    waits = waits_of(folder, run, status.jobs)
    return [*figures, ("Waits", waits)] if waits else figures
