"""A run of another process, watched through its ledger.

Owns how what the ledger shows becomes the status that the live screen draws, and when
there is nothing more to see. Reads only, once a second, and holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from fluxbatch.cli.console import Console
from fluxbatch.cli.progress.progress import Progress, progress
from fluxbatch.cli.render.status import status_lines
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.run_standing import run_standing
from fluxbatch.dataset.status import dataset_status
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries import runs_and_failures, totals
from fluxbatch.ledger.queries.live_run import WatchedRun, watched_run

_EVERY_S = 1.0


def watch_folder(
    console: Console, folder: Folder, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show the run at work until it ends, then where the dataset stands."""
    if folder.is_locked():
        with _shown(console, folder) as shown:
            while folder.is_locked():
                with folder.reader() as db:
                    show_run(shown, folder, db)
                sleep(_EVERY_S)
    else:
        console.info("no run is at work here; where it stands:")
    with folder.reader() as db:
        now = dataset_status(db, folder)
    for line in status_lines(now, console.width()):
        console.print(line)


def show_run(shown: Progress, folder: Folder, db: Database, *, named: str | None = None) -> None:
    """Show where the latest run stands, or nothing: of a dataset that never ran, or where that is
    not the one that is *named*."""
    run = watched_run(db)
    if run is not None and named in {None, run.run_id}:
        shown.show(status_of(db, folder, run, datetime.now(UTC)))


@contextmanager
def _shown(console: Console, folder: Folder) -> Iterator[Progress]:
    with progress(console, f"fluxbatch  watching {folder.address}") as shown:
        yield shown


def status_of(db: Database, folder: Folder, run: WatchedRun, now: datetime) -> RunStatus:
    """What the run's own screen would show, but for what only it knows of a lane's health."""
    jobs = totals.count_jobs(db, run.manifest_seq)
    failures = runs_and_failures.latest_failed(db, run.manifest_seq)
    stands = run_standing(db, folder, run, jobs, now)
    of_run, of_all = totals.totals_of_run(db, run.seq)
    return RunStatus(
        run_id=run.run_id,
        elapsed_s=max((now - run.began).total_seconds(), 0.0),
        jobs=jobs,
        run=of_run,
        dataset=of_all,
        budgets=tuple(runs_and_failures.latest_balances(db, run.run_id)),
        lanes=stands.lanes,
        done_before=0,
        stopping=run.reason,
        failures=tuple(failures),
        waits=stands.waits,
        is_paused=bool(stands.paused),
    )
