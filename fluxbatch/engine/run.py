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
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.config.proxies import environment_proxies
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import claim_images
from fluxbatch.dataset.model_card import kept_cards, resolve_for_run
from fluxbatch.domain.job import JobState
from fluxbatch.engine.image_comparison import compare_as_they_come, compare_the_rest
from fluxbatch.engine.lane_files import lane_files, refuse_forgotten_creates
from fluxbatch.engine.leaving import leaving
from fluxbatch.engine.manifest_import import ManifestImporter
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.engine.session import DatasetRequest, Network, RunSession, open_run
from fluxbatch.engine.shutdown import (
    STATUS_S,
    give_up,
    leaf_errors,
    stop_in_time,
    unwrap_errors,
    watch_signals,
)
from fluxbatch.engine.webhook_service import webhook_service
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.events import Events, Noticed, RunEnded
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import Runtime, real_runtime
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.runs import EndRun
from fluxbatch.ledger.writer import commit
from fluxbatch.provider import open_transport
from fluxbatch.sink import open_fetcher
from fluxbatch.worker.circuit_breaker import FailureCap
from fluxbatch.worker.context import OutputsToFetch

OnStatus = Callable[[RunStatus], None]
_STATUS_REST = 20.0
"""So many times as long as a status takes to find out passes until the next."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A few jobs from everywhere in the manifest, before the rest is bought."""

    jobs: int
    goes_on: Callable[[RunSummary, int], Awaitable[bool]]
    """Told where the run stands and how many of them failed: whether to buy the rest."""


@dataclass(frozen=True, slots=True)
class RunRequest(DatasetRequest):
    """What one invocation is asked to do."""

    manifest: Path | None
    """None: the settings' manifest, or a sweep alone."""
    skip_invalid: bool = False
    no_wait: bool = False
    limit: int | None = None
    """Creates at most; exit 4 where jobs are left."""
    ends_at: datetime | None = None
    """Buy only what is likely to be done by then (`--deadline`, `--max-duration`)."""
    max_failures: FailureCap | None = None
    canary: Canary | None = None
    most_jobs: int | None = None
    """Refuse a sweep or templates that would make more; None: however many."""


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
    request.folder.make()
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
    db: SqliteDatabase,
    on_status: OnStatus | None,
    handle_signals: bool,
) -> RunSummary:
    began_s = runtime.clock.monotonic()
    async with _open_session(request, events, runtime, network, db) as session:
        run = session.context.run
        session.context.creates_left = math.inf if request.limit is None else request.limit
        events.emit(await session.reader.started(began_s))
        try:
            await serve(
                session,
                partial(_jobs, session, request, network),
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
    request: RunRequest, events: Events, runtime: Runtime, network: Network, db: SqliteDatabase
) -> AsyncIterator[RunSession]:
    """Model, books, image store and manifest: whatever may refuse a run before it buys; then
    the lanes, and the run itself."""
    settings, keys, folder = request.settings, request.keys, request.folder
    say = partial(_say, events)
    card = await resolve_for_run(settings, keys, db, network.transport, runtime, say)
    await runtime.to_thread(partial(budgets.audit, db))
    sink = settings.sink
    claimed = partial(claim_images, folder, db, sink.store, timeout_s=sink.timeout)
    images = await runtime.to_thread(claimed)
    most, controls = request.most_jobs, folder.controls.absolute()
    importer = ManifestImporter(
        settings, card, db, runtime, events, most_jobs=most, controls=controls
    )
    path = request.manifest or (Path(settings.manifest) if settings.manifest else None)
    manifest = await importer.read(path, skip_invalid=request.skip_invalid)
    others = await runtime.to_thread(partial(kept_cards, db))
    place, no_wait, cap = network.lanes_folder, request.no_wait, request.max_failures
    with folder.reader() as reader:
        async with lane_files(keys, folder, db, place, no_wait, events) as files:
            run = await open_run(settings, card, manifest.seq, db, runtime)
            yield RunSession(
                request, run, card, others, images, db, reader, files, events, runtime, network, cap
            )


def _keep_error(db: SqliteDatabase, run_seq: int, runtime: Runtime, exc: Exception) -> None:
    """Write down that an error ended this invocation, if the ledger still takes it."""
    leaf = next(leaf_errors(exc), exc) if isinstance(exc, BaseExceptionGroup) else exc
    # Our own words hold no secrets; another's may.
    why = str(leaf) if isinstance(leaf, FluxbatchError) else f"unexpected {type(leaf).__name__}"
    end = EndRun(runtime.clock.now(), run_seq, ExitCode.ERROR, why)
    with suppress(Exception):  # the error itself is what is told
        commit(db, end)


async def serve(
    session: RunSession,
    jobs: Callable[[], Awaitable[None]],
    *,
    on_status: OnStatus | None = None,
    handle_signals: bool = False,
    ends_at: datetime | None = None,
) -> None:
    """Do *jobs* with everything at their service: ledger, lanes, search for unknown creates."""
    context = session.context
    with leaving() as leave:
        async with anyio.create_task_group() as service:
            service.start_soon(context.ledger.run, name="ledger")
            service.start_soon(context.lanes.run, name="lanes")
            for account, journal in context.journals.items():
                service.start_soon(journal.run, name=f"journal-{account}")
            service.start_soon(session.resolver.run, name="reconciler")
            service.start_soon(compare_as_they_come, context.ledger, name="comparison")
            await service.start(session.others.run, name="other-slots")
            work = anyio.CancelScope()
            if ends_at is not None:
                service.start_soon(stop_in_time, context, ends_at, work, name="deadline")
            if (after_s := context.settings.provider.give_up) is not None:
                service.start_soon(give_up, context, after_s, name="give-up")
            if on_status is not None:
                service.start_soon(_report_status, session, on_status, name="status")
            with work:
                if handle_signals:
                    await service.start(watch_signals, context.stop, work, leave, name="signals")
                await jobs()
            service.cancel_scope.cancel()
        # Only now: until its task has ended, a journal may still be writing in a thread.
        with anyio.CancelScope(shield=True):
            await session.flush()
    if on_status is not None:
        on_status(await session.reader.status())


async def _jobs(session: RunSession, request: RunRequest, network: Network) -> None:
    """Everything there is to do, a canary before the rest, and an ear for webhooks meanwhile."""
    queue, canary, failed_before = session.context.queue, request.canary, 0
    if canary is not None:
        failed_before = (await session.reader.summary()).jobs.of(JobState.FAILED)
        queue.begin_with(await session.sampled(canary.jobs))
    async with webhook_service(session.context, request.folder, network.transport, network.listen):
        await _work_off(session, recovering=True)
        if canary is not None and await _passes(session, canary, failed_before):
            queue.go_on()
            await _work_off(session)


async def _work_off(session: RunSession, *, recovering: bool = False) -> None:
    """Buyers, collectors, and what an earlier process left behind."""
    async with fetching_outputs(session) as (work, deliver):
        if recovering:
            await session.recovery.take_up(work, deliver)
        work.start_soon(session.late.serve, work, deliver.clone(), name="late-webhooks")
        for number in range(session.submitters_wanted()):
            work.start_soon(session.submitter.serve, deliver.clone(), name=f"buyer-{number}")


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


@asynccontextmanager
async def fetching_outputs(
    session: RunSession,
) -> AsyncIterator[tuple[TaskGroup, MemoryObjectSendStream[OutputsToFetch]]]:
    """Fetch whatever is delivered; leaves once all who deliver have gone."""
    deliver, deliveries = anyio.create_memory_object_stream[OutputsToFetch](0)
    async with anyio.create_task_group() as work:
        with deliver, deliveries:
            for number in range(session.context.settings.sink.downloads):
                name = f"collector-{number}"
                work.start_soon(session.output_fetcher.run, deliveries.clone(), name=name)
            yield work, deliver


async def _report_status(session: RunSession, on_status: OnStatus) -> None:
    with anyio.move_on_after(STATUS_S):  # what was bought before holds its slots again
        await session.recovery.done.wait()
    while True:
        began_s = session.context.now_s()
        on_status(await session.reader.status())
        # Sums over a large ledger take their time: looking on may not become the work.
        took_s = session.context.now_s() - began_s
        await anyio.sleep(max(STATUS_S, _STATUS_REST * took_s))


@asynccontextmanager
async def open_ledger(folder: Folder, runtime: Runtime) -> AsyncIterator[SqliteDatabase]:
    """The writer's connection; at the end the file alone is complete."""
    db = await runtime.to_thread(partial(SqliteDatabase, folder.ledger))
    try:
        yield db
        await runtime.to_thread(db.checkpoint)
    finally:
        db.close()


@asynccontextmanager
async def open_network(settings: Settings) -> AsyncIterator[Network]:
    """The provider and whatever it links to, over real sockets."""
    local = is_loopback(settings.provider.base_url)
    proxies = environment_proxies()
    async with (
        open_transport(settings.provider) as transport,
        open_fetcher(settings.sink, allow_http=local, proxy_for=proxies) as fetcher,
    ):
        yield Network(transport, fetcher)


def _say(events: Events, message: str) -> None:
    events.emit(Noticed(message))
