"""A maintenance session: the engine's parts on one dataset, with the queue closed.

No manifest is read, no run begins, no lane is taken: predictions are billed to the runs that
created them, and reads need no slot. The dataset's lock is held all the same.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import anyio

from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.model_card import kept_card, kept_cards
from fluxbatch.domain.adoption import PRESUMED
from fluxbatch.domain.job import LIVE, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.engine.service import fetching_outputs, open_ledger, open_network, serve
from fluxbatch.engine.session import DatasetRequest, Network, RunSession
from fluxbatch.engine.shutdown import unwrap_errors
from fluxbatch.errors import ExitCode
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Runtime, real_runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.runs import OpenedRun
from fluxbatch.ledger.queries.audit import KnownPrediction, latest_run, predictions_after
from fluxbatch.maintenance.reports import CancelledEnd, MaintenanceReport
from fluxbatch.worker.circuit_breaker import CircuitBreaker
from fluxbatch.worker.context import TrackedPrediction, WorkerContext

_T = TypeVar("_T")


async def each_prediction(session: RunSession) -> AsyncIterator[KnownPrediction]:
    """Every prediction with an id, in the order of their numbers."""
    after = -1
    while page := await session.context.read(partial(predictions_after, after=after)):
        for one in page:
            yield one
        after = page[-1].seq


async def follow_live(
    session: RunSession,
    *,
    adopting: Collection[PredictionState] = LIVE,
    patience_s: float,
    sweeping: bool = True,
) -> bool:
    """Follow what may be alive, for *patience_s* at most; fetch all that is generated.

    Whatever says stop ends it early; what is being fetched then is still stored. Answers
    whether something was left before its end for want of time.
    """
    stop = session.context.stop
    async with (
        fetching_outputs(session) as (_, deliver),
        anyio.create_task_group() as fetching,
    ):
        stop.on_stop(fetching.cancel_scope.cancel)
        if stop.code is not None:
            return True
        async with anyio.create_task_group() as following:
            await session.recovery.take_up(
                fetching,
                deliver,
                following=following,
                adopting=adopting,
                sweeping=sweeping,
            )
            following.cancel_scope.deadline = anyio.current_time() + patience_s
    return following.cancel_scope.cancelled_caught or stop.code is not None


_R = TypeVar("_R", bound=MaintenanceReport)


async def open_session(
    request: DatasetRequest,
    events: Events,
    work: Callable[[RunSession, _R], Awaitable[None]],
    report: _R,
    *,
    runtime: Runtime | None = None,
    network: Network | None = None,
    handle_signals: bool = False,
) -> _R:
    """Hold the dataset and do *work* on it; answers *report*, filled in.

    A dataset that never ran has nothing to work on. Raises `FluxbatchError` where it could not
    begin or the ledger failed, `HeldElsewhere` among them. The second signal cancels *work*.
    """
    runtime = runtime or real_runtime()
    began_s = runtime.clock.monotonic()
    report.interrupted = await _held(
        request,
        events,
        lambda session: work(session, report),
        runtime=runtime,
        network=network,
        handle_signals=handle_signals,
    )
    report.seconds = runtime.clock.monotonic() - began_s
    return report


async def _held(
    request: DatasetRequest,
    events: Events,
    work: Callable[[RunSession], Awaitable[None]],
    *,
    runtime: Runtime,
    network: Network | None,
    handle_signals: bool,
) -> CancelledEnd | None:
    folder = request.folder
    with folder.reader():
        pass  # no dataset, no lock file
    with folder.lock():
        async with AsyncExitStack() as stack:
            db = await stack.enter_async_context(open_ledger(folder, runtime))
            if network is None:
                network = await stack.enter_async_context(open_network(request.settings))
            with unwrap_errors(), folder.reader() as reader:
                session = await _session(request, events, runtime, network, db, reader)
                if session is None:
                    return None
                await serve(session, partial(work, session), handle_signals=handle_signals)
                return _interrupted(session.context)


async def _session(
    request: DatasetRequest,
    events: Events,
    runtime: Runtime,
    network: Network,
    db: Database,
    reader: Database,
) -> RunSession | None:
    run = await runtime.to_thread(partial(latest_run, reader))
    if run is None:
        return None
    timeout_s = request.settings.sink.timeout
    images = await runtime.to_thread(partial(open_images, request.folder, db, timeout_s=timeout_s))
    card = await runtime.to_thread(partial(kept_card, db, run.model, request.settings.price))
    again = OpenedRun(run.seq, run.run_id, True, Micros(0), run.manifest_seq)
    others = await runtime.to_thread(partial(kept_cards, db))
    session = RunSession(
        request, again, card, others, images, db, reader, {}, events, runtime, network
    )
    context = session.context
    context.queue.close()
    # Failures stop a run; here they are what is being looked at.
    context.guard = CircuitBreaker(context.stop, None, sys.maxsize)
    return session


def tracked(one: KnownPrediction) -> TrackedPrediction:
    """The prediction as the worker's readers take it."""
    return TrackedPrediction(
        one.seq,
        one.provider_id,
        one.job_id,
        one.account,
        one.key_fingerprint,
        one.key_label,
        one.intended,
        is_presumed=one.adopted in PRESUMED,
    )


def _interrupted(context: WorkerContext) -> CancelledEnd | None:
    """Why the work was cut short, where it was."""
    code = context.stop.code
    if code in {ExitCode.ERROR, ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
        return code, context.stop.reason
    return None
