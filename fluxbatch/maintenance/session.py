"""A dataset at work without buying: the engine's parts, its queue closed from the start.

No manifest is read, no run begins, no lane is taken: predictions are booked on the runs that
bought them, and reads need no slot. The dataset's lock is held all the same.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import images_of
from fluxbatch.dataset.model_card import kept_card, kept_cards
from fluxbatch.domain.job import LIVE, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.engine.run import at_work, collecting, open_internet, open_ledger
from fluxbatch.engine.session import Invocation, Opened, Outside
from fluxbatch.engine.shutdown import plain_errors
from fluxbatch.errors import ExitCode
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Seams, real_seams
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.maintenance import BY_INPUT
from fluxbatch.ledger.operations.runs import OpenedRun
from fluxbatch.ledger.queries.audit import KnownPrediction, latest_run, predictions_after
from fluxbatch.maintenance.reports import Ended
from fluxbatch.sink import ImageStore
from fluxbatch.worker.circuit_breaker import FailureGuard
from fluxbatch.worker.context import Desk, Watched

T = TypeVar("T")
_AT_ONCE = 8
"""Reads of the provider side by side."""


@dataclass(frozen=True, slots=True)
class Request:
    """A dataset, and how the provider is reached for it."""

    settings: Settings
    keys: tuple[ApiKey, ...]
    folder: Folder


@dataclass(frozen=True, slots=True)
class Attendance:
    """What a verb works with."""

    invocation: Invocation
    keys: tuple[ApiKey, ...]
    folder: Folder
    images: ImageStore

    @property
    def desk(self) -> Desk:
        return self.invocation.desk

    async def read(self, query: Callable[[Database], T], /) -> T:
        """Run a query on the reader's connection."""
        return await self.invocation.read(query)

    async def predictions(self) -> AsyncIterator[KnownPrediction]:
        """Every prediction with an id, in the order of their numbers."""
        after = -1
        while page := await self.read(partial(predictions_after, after=after)):
            for one in page:
                yield one
            after = page[-1].seq

    async def audit_books(self) -> None:
        """Raise `LedgerError` where a cap's line is not the sum of its predictions."""
        await self.read(budgets.audit)

    async def follow(
        self,
        *,
        adopting: Collection[PredictionState] = LIVE,
        patience_s: float,
        sweeping: bool = True,
    ) -> bool:
        """Follow what may be alive, for *patience_s* at most; fetch all that is generated.

        Whatever says stop ends it early; what is being fetched then is still stored. Answers
        whether something was left before its end for want of time.
        """
        stop = self.desk.stop
        async with (
            collecting(self.invocation) as (_, deliver),
            anyio.create_task_group() as fetching,
        ):
            stop.on_stop(fetching.cancel_scope.cancel)
            if stop.code is not None:
                return True
            async with anyio.create_task_group() as following:
                await self.invocation.recover(
                    fetching,
                    deliver,
                    following=following,
                    adopting=adopting,
                    sweeping=sweeping,
                )
                following.cancel_scope.deadline = anyio.current_time() + patience_s
        return following.cancel_scope.cancelled_caught or stop.code is not None


class Report(Protocol):
    """What every verb's report tells beside its own findings."""

    interrupted: Ended | None
    """Why the work was cut short; None where it was not."""
    seconds: float


R = TypeVar("R", bound=Report)


async def attend(
    request: Request,
    events: Events,
    work: Callable[[Attendance, R], Awaitable[None]],
    report: R,
    *,
    seams: Seams | None = None,
    outside: Outside | None = None,
    handle_signals: bool = False,
) -> R:
    """Hold the dataset and do *work* on it; answers *report*, filled in.

    A dataset that never ran has nothing to work on. Raises `FluxbatchError` where it could not
    begin or the ledger failed, `HeldElsewhere` among them. The second signal cancels *work*.
    """
    seams = seams or real_seams()
    began_s = seams.clock.monotonic()
    report.interrupted = await _held(
        request,
        events,
        lambda attendance: work(attendance, report),
        seams=seams,
        outside=outside,
        handle_signals=handle_signals,
    )
    report.seconds = seams.clock.monotonic() - began_s
    return report


async def _held(
    request: Request,
    events: Events,
    work: Callable[[Attendance], Awaitable[None]],
    *,
    seams: Seams,
    outside: Outside | None,
    handle_signals: bool,
) -> Ended | None:
    folder = request.folder
    with folder.reader():
        pass  # no dataset, no lock file
    with folder.held():
        async with AsyncExitStack() as stack:
            db = await stack.enter_async_context(open_ledger(folder, seams))
            if outside is None:
                outside = await stack.enter_async_context(open_internet(request.settings))
            with plain_errors(), folder.reader() as reader:
                attendance = await _attendance(request, events, seams, outside, db, reader)
                if attendance is None:
                    return None
                await at_work(
                    attendance.invocation,
                    partial(work, attendance),
                    handle_signals=handle_signals,
                )
                return _interrupted(attendance.desk)


async def _attendance(
    request: Request,
    events: Events,
    seams: Seams,
    outside: Outside,
    db: SqliteDatabase,
    reader: SqliteDatabase,
) -> Attendance | None:
    run = await seams.blocking(partial(latest_run, reader))
    if run is None:
        return None
    timeout_s = request.settings.sink.timeout
    images = await seams.blocking(partial(images_of, request.folder, db, timeout_s=timeout_s))
    opened = Opened(
        request.folder,
        images,
        request.settings,
        await seams.blocking(partial(kept_card, db, run.model, request.settings.price)),
        db,
        reader,
        run.manifest_seq,
        seams.clock.monotonic(),
        await seams.blocking(partial(kept_cards, db)),
    )
    again = OpenedRun(run.seq, run.run_id, continued=True, highest_cost=Micros(0))
    invocation = Invocation(opened, again, request.keys, {}, seams, events, outside)
    desk = invocation.desk
    desk.queue.close()
    # Failures stop a run from buying on; here they are what is being looked at.
    desk.guard = FailureGuard(desk.stop, None, sys.maxsize)
    return Attendance(invocation, request.keys, request.folder, images)


async def each(
    items: Iterable[T], call: Callable[[T], Awaitable[None]], *, at_once: int = _AT_ONCE
) -> None:
    """*call* for every item, some of them side by side."""
    todo = iter(items)

    async def serve() -> None:
        for item in todo:
            await call(item)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(serve)


def watched(one: KnownPrediction) -> Watched:
    """The prediction as the worker's readers take it."""
    return Watched(
        one.seq,
        one.provider_id,
        one.job_id,
        one.account,
        one.key_fingerprint,
        one.key_label,
        one.intended,
        by_input=one.adopted == BY_INPUT,
    )


def _interrupted(desk: Desk) -> Ended | None:
    """Why the work was cut short, where it was."""
    code = desk.stop.code
    if code in {ExitCode.ERROR, ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
        return code, desk.stop.reason
    return None
