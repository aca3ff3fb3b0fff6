"""A run that another process does, watched through its ledger.

Owns how what the ledger shows becomes the status that the live screen draws, and when
there is nothing more to see. Reads only, once a second, and holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import BaseModel

from fluxbatch.cli.progress import Progress, progress
from fluxbatch.cli.standing import standing
from fluxbatch.cli.talk import Talk
from fluxbatch.cli.told import status_lines
from fluxbatch.config import Limits
from fluxbatch.dataset import Folder
from fluxbatch.ledger import listing, summaries
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.traffic import WatchedRun, lane_traffic, watched_run
from fluxbatch.status import LaneStatus, RunStatus

_EVERY_S = 1.0


class _Shaped(BaseModel):
    """The part of a run's settings that a watcher needs."""

    limits: Limits = Limits()


def watch_folder(talk: Talk, folder: Folder, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show the run at work until it ends, then where the dataset stands."""
    if folder.is_held():
        with _shown(talk, folder) as shown:
            while folder.is_held():
                with folder.reader() as db:
                    run = watched_run(db)
                    if run is not None:
                        shown.show(status_of(db, run, datetime.now(UTC)))
                sleep(_EVERY_S)
    else:
        talk.say("no run is at work here; where it stands:")
    with folder.reader() as db:
        now = standing(db, folder)
    for line in status_lines(now, talk.width()):
        talk.data(line)


@contextmanager
def _shown(talk: Talk, folder: Folder) -> Iterator[Progress]:
    with progress(talk, f"fluxbatch  watching {folder.root}") as shown:
        yield shown


def status_of(db: Database, run: WatchedRun, now: datetime) -> RunStatus:
    """What the run's own screen would show, but for a lane's health: that only it knows."""
    limits = _Shaped.model_validate_json(run.settings_json).limits
    manifest = listing.latest_manifest(db)
    jobs, failures = summaries.JobCounts({}, 0, 0, 0), list[listing.FailedJob]()
    if manifest is not None:
        jobs = summaries.count_jobs(db, manifest.seq)
        failures = listing.latest_failed(db, manifest.seq)
    lanes = tuple(
        LaneStatus(
            lane.label, lane.alive, limits.concurrent, lane.left_lately, limits.creates,
            limits.window, "",
        )
        for lane in lane_traffic(db, now, limits.window)
    )  # fmt: skip
    of_run, of_all = summaries.totals_of_run(db, run.seq)
    return RunStatus(
        run_id=run.run_id,
        elapsed_s=max((now - run.began).total_seconds(), 0.0),
        jobs=jobs,
        run=of_run,
        dataset=of_all,
        budgets=tuple(listing.latest_balances(db, run.run_id)),
        lanes=lanes,
        done_before=0,
        stopping=run.reason,
        failures=tuple(failures),
    )
