"""The service of a session: its long-lived tasks, and the openers of what they work with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch.config.proxies import environment_proxies
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.image_comparison import compare_as_they_come
from fluxbatch.engine.leaving import leaving
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.engine.session import Network, RunSession
from fluxbatch.engine.shutdown import STATUS_S, give_up, stop_in_time, watch_signals
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.provider import open_transport
from fluxbatch.sink import open_fetcher
from fluxbatch.worker.context import OutputsToFetch

OnStatus = Callable[[RunStatus], None]
_STATUS_REST = 20.0
"""So many times as long as a status takes to find out passes until the next."""


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
            service.start_soon(
                compare_as_they_come, context.ledger, context.is_eldest, name="comparison"
            )
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


async def fill_slots(
    session: RunSession, work: TaskGroup, deliver: MemoryObjectSendStream[OutputsToFetch]
) -> None:
    """As many buyers as there are slots, and more where `fluxbatch ctl` raises those."""
    at_work, queue = 0, session.context.queue
    with deliver:
        while True:
            grown = anyio.Event()
            session.context.grow = grown.set
            for number in range(at_work, session.submitters_wanted()):
                work.start_soon(session.submitter.serve, deliver.clone(), name=f"buyer-{number}")
            at_work = max(at_work, session.submitters_wanted())
            if queue.is_closed:
                return
            async with anyio.create_task_group() as either:
                for event in (grown, queue.closed):
                    either.start_soon(_then_cancel, event, either.cancel_scope)


async def _then_cancel(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


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
async def open_ledger(folder: Folder, runtime: Runtime) -> AsyncIterator[Database]:
    """The writer's connection; at the end the file alone is complete."""
    db = await runtime.to_thread(folder.make_ledger)
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
