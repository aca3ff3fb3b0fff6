"""The ends of a run: signals, a deadline, and errors out of task groups."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskStatus

from fluxbatch.engine.leaving import Leave
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.events import Noticed
from fluxbatch.sink.decode_process import processes
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.stop import Stop

STATUS_S = 1.0


_DEADLINES_A_JOB = 75
"""`provider.deadline` is so many times what an execution usually takes (15 min to 12 s)."""


async def watch_signals(
    stop: Stop,
    work: anyio.CancelScope,
    leave: Leave,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    codes = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
    with anyio.open_signal_receiver(*codes) as signals:
        task_status.started()
        async for number in signals:
            if stop.code in codes.values():
                leave(codes[signal.Signals(number)])
                processes.end()
                work.cancel()
            stop(codes[signal.Signals(number)], f"{signal.Signals(number).name} received")


@contextmanager
def unwrap_errors() -> Iterator[None]:
    """A task group's error as the one error of ours that is in it, or the only one there is."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(leaf_errors(group))
        for error in [one for one in errors if isinstance(one, FluxbatchError)] or errors:
            if isinstance(error, FluxbatchError) or len(errors) == 1:
                raise error from group
        raise


def leaf_errors(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaf_errors(error)
        else:
            yield error


async def stop_in_time(context: WorkerContext, ends_at: datetime, work: anyio.CancelScope) -> None:
    """Submit nothing that is not likely to be fetched by *ends_at*; leave `stop.grace` after it.

    What still runs then is adopted by the next run. *work* is what is cancelled.
    """
    leaves_at = ends_at + timedelta(seconds=context.settings.stop.grace)
    while context.stop.code is None:
        left_s = _left_s(context, ends_at)
        drain_s = context.timing.drain_s(context.settings.provider.deadline / _DEADLINES_A_JOB)
        if left_s <= drain_s:
            reason = (
                f"{ends_at.astimezone():%Y-%m-%d %H:%M} is too near to buy more; what runs is"
                f" waited for until {leaves_at.astimezone():%H:%M:%S} at most"
            )
            context.stop(ExitCode.STOPPED, reason)
        else:
            await anyio.sleep(min(left_s - drain_s, STATUS_S))
    while True:  # by the wall clock, which may be set meanwhile
        if (left_s := _left_s(context, leaves_at)) <= 0:
            break
        await anyio.sleep(min(left_s, STATUS_S))
    context.has_left = True
    context.events.emit(Noticed("the time is up: what still runs is adopted by the next run"))
    work.cancel()


async def give_up(context: WorkerContext, after_s: float) -> None:
    """Submit no more once the provider has accepted nothing for *after_s*."""
    while context.stop.code is None:
        since_s = context.accepts_nothing_since()
        if since_s is not None and context.now_s() - since_s >= after_s:
            reason = f"the provider has accepted nothing for {after_s:,.0f} s (provider.give_up)"
            context.stop(ExitCode.STOPPED, reason)
        await anyio.sleep(min(STATUS_S, after_s))


def _left_s(context: WorkerContext, until: datetime) -> float:
    return (until - context.runtime.clock.now().utc).total_seconds()
