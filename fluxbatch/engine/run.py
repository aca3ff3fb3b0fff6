"""The composition root: every long-lived task of a run is started here.

Shutdown has two steps. The first SIGINT or SIGTERM stops creates and lets what runs
finish and be fetched; the second leaves at once, and what runs is adopted next time.
A failed job is an outcome; a failed ledger ends the run, because unrecorded results
are lost money.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import anyio

from fluxbatch.config.api_keys import Keyring
from fluxbatch.domain.job import JobState
from fluxbatch.engine.control.added_keys import AddedKeys, taking_keys
from fluxbatch.engine.image_comparison import compare_the_rest
from fluxbatch.engine.lane_files import LaneFiles, lane_files, refuse_forgotten_creates
from fluxbatch.engine.metrics.textfile import with_textfile
from fluxbatch.engine.preparation import prepare
from fluxbatch.engine.request import Canary, RunRequest
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
from fluxbatch.engine.shutdown import (
    leaf_errors,
    unwrap_errors,
)
from fluxbatch.engine.telemetry.observing import with_telemetry
from fluxbatch.engine.webhook_service import webhook_service
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError
from fluxbatch.events import Events, RunEnded
from fluxbatch.infra.runtime import Runtime, real_runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.runs import EndRun
from fluxbatch.ledger.writer import commit
from fluxbatch.worker.run_control import taking_commands


async def execute_run(
    request: RunRequest,
    events: Events,
    *,
    runtime: Runtime | None = None,
    network: Network | None = None,
    on_status: OnStatus | None = None,
    handle_signals: bool = False,
) -> RunSummary:
    """Work on a dataset until nothing is left to do, or something says stop.

    *on_status* is called at the start, about once a second, and at the end. Raises
    `FluxbatchError` when the run could not begin or its ledger failed; how jobs ended is in the
    summary. Cancellation leaves predictions running; the next run adopts them.
    """
    runtime = runtime or real_runtime()
    request = replace(request, keys=Keyring.of(request.keys))  # whoever hides keys holds the ring
    request.folder.make()
    work = partial(_execute, request, runtime, network, handle_signals)
    filed_work = partial(_file_metrics, request, runtime, work)
    return await with_telemetry(request, events, runtime, on_status, filed_work)


async def _file_metrics(
    request: RunRequest,
    runtime: Runtime,
    work: Callable[[Events, OnStatus | None], Awaitable[RunSummary]],
    events: Events,
    on_status: OnStatus | None,
) -> RunSummary:
    metrics = request.settings.metrics
    return await with_textfile(metrics, request.folder.name, events, runtime, on_status, work)


async def _execute(
    request: RunRequest,
    runtime: Runtime,
    network: Network | None,
    handle_signals: bool,
    events: Events,
    on_status: OnStatus | None,
) -> RunSummary:
    if request.folder.is_shared:
        from fluxbatch.engine.shared_run import execute_shared_run  # most datasets are folders

        return await execute_shared_run(
            request, events, runtime, network, on_status, handle_signals=handle_signals
        )
    if request.run_name is not None:
        raise ConfigError("--run names a run of a dataset in PostgreSQL (--out postgresql://…)")
    request.folder.refuse_lost_ledger()
    refuse_forgotten_creates(request.folder, network.lanes_folder if network else None)
    with request.folder.lock():
        async with AsyncExitStack() as stack:
            db = await stack.enter_async_context(open_ledger(request.folder, runtime))
            if network is None:
                network = await stack.enter_async_context(open_network(request.settings))
            with unwrap_errors():
                return await _run(request, events, runtime, network, db, on_status, handle_signals)


async def _run(
    request: RunRequest,
    events: Events,
    runtime: Runtime,
    network: Network,
    db: Database,
    on_status: OnStatus | None,
    handle_signals: bool,
) -> RunSummary:
    began_s = runtime.clock.monotonic()
    async with _open_session(request, events, runtime, network, db) as (session, files):
        run = session.context.run
        session.context.creates_left = math.inf if request.limit is None else request.limit
        events.emit(await session.reader.started(began_s))
        try:
            await serve(
                session,
                partial(_jobs, session, files, request, network),
                on_status=on_status,
                handle_signals=handle_signals,
                ends_at=request.ends_at,
            )
        except Exception as exc:
            _keep_error(db, run.seq, runtime, exc)
            raise
        summary = await session.reader.summary()
        end = EndRun(runtime.clock.now(), run.seq, summary.exit_code, summary.reason)
        await runtime.to_thread(lambda: commit(db, end))
        await runtime.to_thread(partial(compare_the_rest, db))
        await runtime.to_thread(partial(budgets.audit, db))
    events.emit(RunEnded(summary.run_id, int(summary.exit_code), summary.reason))
    return summary


@asynccontextmanager
async def _open_session(
    request: RunRequest, events: Events, runtime: Runtime, network: Network, db: Database
) -> AsyncIterator[tuple[RunSession, LaneFiles]]:
    """What may refuse a run; then the lanes, and the run itself."""
    settings, keys, folder = request.settings, request.keys, request.folder
    ready = await prepare(request, events, runtime, network, db)
    place, no_wait, cap = network.lanes_folder, request.no_wait, request.max_failures
    with folder.reader() as reader:
        async with lane_files(keys, folder, db, place, no_wait, events) as files:
            operation = opening(settings, ready.card, ready.manifest_seq, runtime, None)
            run = await runtime.to_thread(partial(commit, db, operation))
            yield RunSession(
                request, run, ready.card, ready.other_cards, ready.images, db, reader, files.held,
                events, runtime, network, cap,
            ), files  # fmt: skip


def _keep_error(db: Database, run_seq: int, runtime: Runtime, exc: Exception) -> None:
    """Write down that an error ended this invocation, if the ledger still takes it."""
    leaf = next(leaf_errors(exc), exc) if isinstance(exc, BaseExceptionGroup) else exc
    # Our own words hold no secrets; another's may.
    why = str(leaf) if isinstance(leaf, FluxbatchError) else f"unexpected {type(leaf).__name__}"
    end = EndRun(runtime.clock.now(), run_seq, ExitCode.ERROR, why)
    with suppress(Exception):  # the error itself is what is told
        commit(db, end)


async def _jobs(
    session: RunSession, files: LaneFiles, request: RunRequest, network: Network
) -> None:
    """Everything there is to do, a canary before the rest, and an ear for webhooks meanwhile."""
    queue, canary, failed_before = session.context.queue, request.canary, 0
    if canary is not None:
        failed_before = (await session.reader.summary()).jobs.of(JobState.FAILED)
        queue.begin_with(await session.sampled(canary.jobs))
    async with (
        taking_keys(session, files) as added,
        taking_commands(session.context, request.folder.control, added.add, network.control),
        webhook_service(session.context, request.folder, network.transport, network.listen),
    ):
        await _work_off(session, added, recovering=True)
        if canary is not None and await _passes(session, canary, failed_before):
            queue.go_on()
            await _work_off(session, added)


async def _work_off(session: RunSession, added: AddedKeys, *, recovering: bool = False) -> None:
    """Buyers, collectors, and what an earlier process left behind."""
    async with fetching_outputs(session) as (work, deliver):
        if recovering:
            await session.recovery.take_up(work, deliver)
        await work.start(added.serve, work, deliver.clone(), name="added-keys")
        work.start_soon(session.late.serve, work, deliver.clone(), name="late-webhooks")
        work.start_soon(fill_slots, session, work, deliver.clone(), name="staff")


async def _passes(session: RunSession, canary: Canary, failed_before: int) -> bool:
    """Whether the rest is to be bought; where nothing is left or money is short, nobody is
    asked."""
    stop = session.context.stop
    summary = await session.reader.summary()
    if stop.code is not None or session.context.queue.starved_by is not None:
        return False
    if not summary.jobs.of(JobState.PENDING):
        return False
    says_yes = False
    with anyio.CancelScope() as asking:
        stop.on_stop(asking.cancel)
        failed = summary.jobs.of(JobState.FAILED) - failed_before
        says_yes = await canary.goes_on(summary, failed)
    if asking.cancel_called or says_yes:
        return says_yes and not asking.cancel_called
    stop(
        ExitCode.STOPPED, "the canary is done; run again without --canary, or with --yes, to go on"
    )
    return False
