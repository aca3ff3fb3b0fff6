"""A run that several processes share through one PostgreSQL ledger.

Owns what one of them does from joining to leaving, and that a database that fails ends its lanes
and not the process: it joins anew, as another worker, for `ledger.patience`. The last to leave
ends the run. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial

import anyio

from fluxbatch.dataset.lane_record import LaneRecord, kept_in_database
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.control.follower import ControlFollower
from fluxbatch.engine.image_comparison import compare_the_rest
from fluxbatch.engine.manifest_import import MayWrite
from fluxbatch.engine.membership.held_lanes import HeldLanes
from fluxbatch.engine.membership.membership import Membership
from fluxbatch.engine.preparation import prepare
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.service import (
    OnStatus,
    fetching_outputs,
    fill_slots,
    open_ledger,
    open_network,
    serve,
)
from fluxbatch.engine.session import Network, RunSession, opening
from fluxbatch.engine.shutdown import leaf_errors, unwrap_errors
from fluxbatch.engine.webhook_service import webhook_service
from fluxbatch.errors import ConfigError, DatabaseFailed, ExitCode
from fluxbatch.events import Event, Events, Noticed, OutputStored, PredictionMoved, RunEnded
from fluxbatch.infra.runtime import Runtime
from fluxbatch.infra.shared_clock import SharedClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.runs import EndRun, OpenedRun
from fluxbatch.ledger.queries.totals import count_jobs, totals_of_run
from fluxbatch.ledger.sharing.shared_runs import (
    EndedRun,
    LeaveRun,
    OpenSharedRun,
    RunHasEnded,
    ended_run,
)
from fluxbatch.ledger.sharing.side_connection import SideConnection
from fluxbatch.ledger.sharing.standbys import why_standbys_lag
from fluxbatch.ledger.sharing.workers import WorkerGone, new_worker_id
from fluxbatch.ledger.writer import commit
from fluxbatch.queue import JobQueue
from fluxbatch.worker.circuit_breaker import CircuitBreaker

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_WORKED_S = 60.0
"""Who was at work for so long without a failure had a database, though it had nothing to do."""
_LEAVES_AT_ONCE = frozenset(
    {ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.ERROR, ExitCode.NO_KEY}
)
"""Reasons of this process alone: it waits for nobody."""


async def execute_shared_run(
    request: RunRequest,
    events: Events,
    runtime: Runtime,
    network: Network | None,
    on_status: OnStatus | None,
    *,
    handle_signals: bool,
) -> RunSummary:
    """Work on the run until it has ended, however often the database goes away meanwhile."""
    if request.canary is not None:
        raise ConfigError("--canary is for one process: make a few jobs with --limit first")
    began_s = runtime.clock.monotonic()
    async with AsyncExitStack() as stack:
        if network is None:
            network = await stack.enter_async_context(open_network(request.settings))
        part = _Part(request, events, runtime, network, on_status, handle_signals, began_s)
        failing_since: float | None = None
        pause_s, has_joined = _FIRST_PAUSE_S, False
        while True:
            try:
                return await part.work()
            except BaseException as exc:
                failure = _database_failure(exc)
                has_joined = has_joined or part.has_joined
                if failure is None or not has_joined or part.is_told_to_stop:
                    with unwrap_errors():
                        raise
                now = runtime.clock.monotonic()
                if part.has_worked or failing_since is None:
                    failing_since, pause_s = now, _FIRST_PAUSE_S
                left_s = failing_since + request.settings.ledger.patience - now
                if left_s <= 0:
                    raise failure from exc
                events.emit(
                    Noticed(f"{failure}; nothing is bought; joining anew, for {left_s:.0f} s more")
                )
            await anyio.sleep(pause_s * (0.5 + runtime.random.random() / 2))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _database_failure(exc: BaseException) -> DatabaseFailed | None:
    """The database's failure, where nothing else but its consequences is in *exc*."""
    leaves = list(leaf_errors(exc)) if isinstance(exc, BaseExceptionGroup) else [exc]
    if not all(isinstance(leaf, Exception) for leaf in leaves):
        return None
    return next((leaf for leaf in leaves if isinstance(leaf, DatabaseFailed)), None)


def _is_work_left(session: RunSession, summary: RunSummary) -> bool:
    """Whether jobs are left that nothing forbids."""
    return session.context.stop.code is None and summary.exit_code is ExitCode.ERROR


class _Part:
    """One process's part, from one joining to the next."""

    def __init__(
        self,
        request: RunRequest,
        events: Events,
        runtime: Runtime,
        network: Network,
        on_status: OnStatus | None,
        handle_signals: bool,
        began_s: float,
    ) -> None:
        assert isinstance(request.folder, SharedDataset)
        self._request = request
        self._dataset = request.folder
        self._events = events.heard_by(self._hear)
        self._local = runtime
        self._network = network
        self._on_status = on_status
        self._handle_signals = handle_signals
        self._began_s = began_s
        self.has_joined = False
        """Since the last call of `work`."""
        self._joined_s = 0.0
        self._has_moved = False
        self._run_name = request.run_name
        """Once it is known, whatever it is called: who joins anew never begins another run."""
        self._session: RunSession | None = None
        self._warned = ""

    @property
    def has_worked(self) -> bool:
        """Whether the database did more, since the last call of `work`, than let it join."""
        lived_s = self._local.clock.monotonic() - self._joined_s
        return self.has_joined and (self._has_moved or lived_s > _WORKED_S)

    def _hear(self, event: Event) -> None:
        self._has_moved |= isinstance(event, PredictionMoved | OutputStored)

    @property
    def is_told_to_stop(self) -> bool:
        """A signal came: it is not joined anew."""
        code = self._session.context.stop.code if self._session is not None else None
        return code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}

    async def work(self) -> RunSummary:
        """Join, work until the run ends, leave."""
        self.has_joined = self._has_moved = False
        clock = SharedClock(self._local.clock)
        runtime = self._local._replace(clock=clock)
        async with open_ledger(self._dataset, runtime) as db:
            name = self._run_name
            if name is not None and (ended := ended_run(db, name)) is not None:
                return self._told(db, ended)
            with closing(await runtime.to_thread(self._dataset.writer)) as side:
                member = Membership(
                    new_worker_id(self._local.random), self._dataset.dataset, self._request.keys,
                    SideConnection(side), runtime, clock,
                )  # fmt: skip
                try:
                    await member.join()
                    self.has_joined, self._joined_s = True, self._local.clock.monotonic()
                    await self._warn_of_standbys(member)
                    async with anyio.create_task_group() as beating:
                        beating.start_soon(member.beat, name="heartbeat")
                        control = ControlFollower(member)
                        beating.start_soon(control.follow, name="control")
                        run, summary = await self._run(member, control, db, runtime)
                        beating.cancel_scope.cancel()
                    # Without a heartbeat: who has left is at work no more, and no one else's.
                    summary = await self._leave(member, db, runtime, run.seq, summary)
                except* RunHasEnded:
                    assert name is not None
                    ended = ended_run(db, name)
                    assert ended is not None
                    summary = self._told(db, ended)
                finally:
                    await member.leave()
        return summary

    async def _run(
        self, member: Membership, control: ControlFollower, db: Database, runtime: Runtime
    ) -> tuple[OpenedRun, RunSummary]:
        request, events = self._request, self._events
        importing = partial(self._importing, member)
        ready = await prepare(request, events, runtime, self._network, db, importing)
        operation = OpenSharedRun(
            opening(request.settings, ready.card, ready.manifest_seq, runtime, self._run_name),
            member.worker,
            request.limit,
            request.max_failures,
            request.settings.stop.identical_failures,
        )
        run = await runtime.to_thread(partial(commit, db, operation))
        self._run_name = run.run_id
        accounts = sorted(member.accounts)
        with self._dataset.reader() as reader:
            self._session = session = RunSession(
                request, run, ready.card, ready.other_cards, ready.images, db, reader,
                {a: LaneRecord(a, self._dataset.dataset, member.connection) for a in accounts},
                events, runtime, self._network,
                kept_elsewhere=partial(kept_in_database, accounts, member.connection),
                queue=JobQueue(
                    member.page,
                    runtime.clock,
                    page_jobs=member.page_jobs,
                    others_done=member.others_done,
                ),
            )  # fmt: skip
            session.context.guard = CircuitBreaker(session.context.stop, None, None)
            member.works_in(session.context)
            await control.look()
            events.emit(await session.reader.started(self._began_s))
            await serve(
                session,
                partial(self._jobs, session, member),
                on_status=self._on_status,
                handle_signals=self._handle_signals,
                ends_at=request.ends_at,
            )
            have_all_finished = True
            if session.context.stop.code not in _LEAVES_AT_ONCE:
                have_all_finished = await member.others_finish()
                session.context.has_left |= await member.is_something_left()
            summary = await session.reader.summary()
            if not have_all_finished and _is_work_left(session, summary):
                raise WorkerGone("another worker vanished with work at hand, which is taken up")
            return run, summary

    async def _warn_of_standbys(self, member: Membership) -> None:
        """Once: also where another server was promoted meanwhile."""
        warning = await member.call(why_standbys_lag)
        if warning is not None and warning != self._warned:
            self._warned = warning
            self._events.emit(Noticed(warning))

    async def _jobs(self, session: RunSession, member: Membership) -> None:
        context, network = session.context, self._network
        async with (
            webhook_service(context, self._dataset, network.transport, network.listen),
            fetching_outputs(session) as (work, deliver),
        ):
            await session.recovery.learn_durations()
            lanes = HeldLanes(member, session.recovery, work, deliver.clone())
            hold = partial(lanes.hold, no_wait=self._request.no_wait)
            work.start_soon(hold, name="lanes-held")
            work.start_soon(session.late.serve, work, deliver.clone(), name="late-webhooks")
            work.start_soon(fill_slots, session, work, deliver.clone(), name="staff")

    async def _leave(
        self, member: Membership, db: Database, runtime: Runtime, run_seq: int, summary: RunSummary
    ) -> RunSummary:
        end = EndRun(runtime.clock.now(), run_seq, summary.exit_code, summary.reason)
        is_last = await runtime.to_thread(partial(commit, db, LeaveRun(member.worker, end)))
        if is_last:
            await runtime.to_thread(partial(compare_the_rest, db))
            await runtime.to_thread(partial(budgets.audit, db))
        self._events.emit(RunEnded(summary.run_id, int(summary.exit_code), summary.reason))
        return summary if is_last else summary.told_by_another()

    @asynccontextmanager
    async def _importing(self, member: Membership) -> AsyncIterator[MayWrite]:
        """One process reads the manifest at a time; the next one finds it read."""
        told = False
        while not await member.takes_import():
            if not told:
                self._events.emit(Noticed("another worker reads the manifest; waiting for it"))
                told = True
            await anyio.sleep(_FIRST_PAUSE_S)
        try:
            yield member.keeps_import
        finally:
            await member.gives_import_back()

    def _told(self, db: Database, ended: EndedRun) -> RunSummary:
        return summary_of_ended(db, ended, self._local.clock.monotonic() - self._began_s)


def summary_of_ended(db: Database, ended: EndedRun, seconds: float) -> RunSummary:
    """The summary of a run that is over, for who did not end it; *seconds*: how long it waited."""
    totals_run, totals_all = totals_of_run(db, ended.seq)
    jobs = count_jobs(db, ended.manifest_seq)
    return RunSummary(
        ended.run_id, ended.exit_code, ended.reason, True, jobs, totals_run, totals_all, seconds,
        is_last=False,
    )  # fmt: skip
