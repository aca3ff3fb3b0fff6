"""The reader of a run's status: sums of the ledger, lanes as they stand.

Owns no figure: each is asked for again. Knows nothing of who shows it.
"""

from __future__ import annotations

from functools import partial

from fluxbatch.domain.job import JobState
from fluxbatch.engine.exit_code import decide_exit
from fluxbatch.engine.run_status import RunStatus, RunSummary, lane_status
from fluxbatch.events import RunStarted
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.queries.runs_and_failures import latest_failed
from fluxbatch.ledger.queries.totals import JobCounts, Totals, count_jobs, totals_of_run
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.unknown.resolve import UnknownResolver
from fluxbatch.worker.waiting import why_nothing_leaves

_Sums = tuple[Totals, Totals, JobCounts]
"""Of the run, of the dataset, of the manifest's jobs."""


class StatusReader:
    """What can be said of one run, from its start to its end."""

    def __init__(self, context: WorkerContext, resolver: UnknownResolver) -> None:
        self._context = context
        self._resolver = resolver
        self._began_s = context.now_s()
        self._done_before = 0
        self._at_start: _Sums | None = None
        """What `started` has just summed up, for the first status."""
        self._latest: tuple[int, _Sums] | None = None
        """The sums, and the ledger's `changes_seen` right before they were read."""

    async def started(self, began_s: float) -> RunStarted:
        """*began_s*, monotonic: since when it takes."""
        self._began_s = began_s
        self._at_start = run, dataset, jobs = await self._sums()
        self._done_before = jobs.of(JobState.DONE)
        opened = self._context.run
        return RunStarted(
            opened.run_id, opened.continued, jobs.total, self._done_before, run.spent, dataset.spent
        )

    async def status(self) -> RunStatus:
        """The run at this moment."""
        context = self._context
        at_start, self._at_start = self._at_start, None
        run, dataset, jobs = at_start or await self._sums()
        day = context.budget_day()
        lines = await context.read(partial(read_lines, run_id=context.run.run_id, day=day))
        latest = partial(latest_failed, manifest_seq=context.run.manifest_seq)
        failures = await context.read(latest) if jobs.of(JobState.FAILED) else []
        now = context.now_s()
        return RunStatus(
            run_id=context.run.run_id,
            elapsed_s=now - self._began_s,
            jobs=jobs,
            run=run,
            dataset=dataset,
            budgets=tuple(lines),
            lanes=tuple(lane_status(lane, now) for lane in context.lanes.all),
            done_before=self._done_before,
            stopping=context.stop.reason,
            failures=tuple(failures),
            waits=why_nothing_leaves(context, self._resolver),
            is_paused=context.lanes.suspended is not None,
        )

    async def summary(self) -> RunSummary:
        """The run as it has ended."""
        run, dataset, jobs = await self._sums()
        stop, opened = self._context.stop, self._context.run
        starved_by = self._context.queue.starved_by
        code, reason = decide_exit(
            jobs, stop.code, stop.reason, starved_by, has_left=self._context.has_left
        )
        seconds = self._context.now_s() - self._began_s
        return RunSummary(
            opened.run_id, code, reason, opened.continued, jobs, run, dataset, seconds
        )

    async def _sums(self) -> _Sums:
        return await self._context.read(self._summed_up)

    def _summed_up(self, db: Database) -> _Sums:
        changes = db.changes_seen()
        if self._latest is not None and self._latest[0] == changes:
            return self._latest[1]
        opened = self._context.run
        sums = *totals_of_run(db, opened.seq), count_jobs(db, opened.manifest_seq)
        self._latest = (changes, sums) if changes is not None else None
        return sums
