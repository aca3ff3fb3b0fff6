"""The control of a run at work: paused, resumed, stopped, its cap changed, from another process.

Owns what a command means and that each change is in the ledger with its reason. One line of JSON
comes in, one goes out: who may connect is the file system's affair, for the socket is its owner's
alone. Source: docs/design/protocol.md 6.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio
from aiolimiter import AsyncLimiter
from anyio.abc import ByteStream

from fluxbatch.config.api_keys import ApiKey, key_to_add
from fluxbatch.domain.control import (
    ADD_KEY,
    asked_budget,
    asked_lane,
    asked_limit,
    asked_reason,
    because,
)
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.errors import ConfigError, ExitCode, HeldElsewhere
from fluxbatch.events import Noticed
from fluxbatch.infra.unix_socket import reachable
from fluxbatch.ledger.operations.control import ChangeCap, RecordChange
from fluxbatch.ledger.sharing.run_controls import RunControls
from fluxbatch.scheduler.lane import Lane
from fluxbatch.worker.context import WorkerContext

_MOST_BYTES = 32_768
"""Of a request; JSON may write each character of a reason as six."""
_PATIENCE_S = 5.0
"""For a line that was begun: who connects and says nothing holds nobody up."""


class RunControl:
    """The commands of one run."""

    def __init__(self, context: WorkerContext, add_key: AddKey) -> None:
        self._context = context
        self._add = add_key
        self._one_at_a_time = anyio.Lock()
        """What holds at the end is what the ledger names last."""
        self._cap: Micros | None = context.settings.budget.caps.get("run")
        self._commands: Mapping[str, Callable[..., Any]] = {
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "budget": self._budget,
            "show": self._show,
            "limits.creates": self._creates,
            "limits.slots": self._slots,
            "lane": self._lane,
            ADD_KEY: self._add_key,
        }

    async def answer(self, line: bytes) -> dict[str, Any]:
        """What came of one request; a refusal is an answer too."""
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
            value = str(request.get("value") or "")
            reason = asked_reason(str(request.get("reason") or ""))
            if request["command"] == ADD_KEY:
                command = partial(command, _added(request, value))
            async with self._one_at_a_time:
                changed = await command(value, reason, bool(request.get("dry_run")))
        except (ConfigError, HeldElsewhere) as exc:
            return {"error": str(exc), "is_held": isinstance(exc, HeldElsewhere)}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": "the request is not understood; use the same version of fluxbatch"}
        return {"changed": bool(changed), **self._state()}

    def _state(self) -> dict[str, Any]:
        context = self._context
        return {
            "run_id": context.run.run_id,
            "paused": context.lanes.suspended is not None,
            "stopping": context.stop.reason,
            "budget_usd": as_usd(self._cap) if self._cap is not None else None,
            "pid": os.getpid(),
            "lanes": [lane_state(lane, context.now_s()) for lane in context.lanes.all],
        }

    async def _creates(self, value: str, reason: str, dry_run: bool) -> bool:
        """The window counts on: a lower limit waits until so many have left it."""
        most, lanes = asked_limit("limits.creates", value), self._context.lanes.all
        changed = any(lane.creates.limit != most for lane in lanes)
        if changed and not dry_run:
            await self._record(f"limits.creates {most}", reason)
            for lane in lanes:
                _limit_creates(lane, most)
            self._context.lanes.changed()
        return changed

    async def _slots(self, value: str, reason: str, dry_run: bool) -> bool:
        """What runs keeps its slot; where there are fewer, none is given until they are free."""
        most, lanes = asked_limit("limits.slots", value), self._context.lanes.all
        changed = any(lane.slots.limit != most for lane in lanes)
        if changed and not dry_run:
            await self._record(f"limits.slots {most}", reason)
            for lane in lanes:
                lane.slots.limit = most
            self._context.grow()
            self._context.lanes.changed()
        return changed

    async def _lane(self, value: str, reason: str, dry_run: bool) -> bool:
        label, is_off = asked_lane(value, {lane.label for lane in self._context.lanes.all})
        lanes = [lane for lane in self._context.lanes.all if lane.label == label]
        changed = any(lane.is_off != is_off for lane in lanes)
        if changed and not dry_run:
            for lane in lanes:  # off before it is written down: nothing leaves meanwhile
                lane.is_off = lane.is_off or is_off
            await self._record(f"lane {value}", reason)
            for lane in lanes:
                lane.is_off = is_off
            self._context.lanes.changed()
        return changed

    async def _add_key(self, key: ApiKey, value: str, reason: str, dry_run: bool) -> bool:
        return await self._add(key, reason, dry_run=dry_run)

    async def _show(self, value: str, reason: str, dry_run: bool) -> bool:
        return False

    async def _pause(self, value: str, reason: str, dry_run: bool) -> bool:
        lanes = self._context.lanes
        if lanes.suspended is not None or dry_run:
            return lanes.suspended is None
        lanes.suspend(reason)
        await self._record("paused", reason)
        return True

    async def _resume(self, value: str, reason: str, dry_run: bool) -> bool:
        lanes = self._context.lanes
        if lanes.suspended is None or dry_run:
            return lanes.suspended is not None
        await self._record("resumed", reason)
        lanes.suspend(None)
        return True

    async def _stop(self, value: str, reason: str, dry_run: bool) -> bool:
        stop = self._context.stop
        if stop.code is not None or dry_run:
            return stop.code is None
        await self._record("stopped", reason)
        stop(ExitCode.STOPPED, f"stopped by fluxbatch ctl{because(reason)}")
        return True

    async def _budget(self, value: str, reason: str, dry_run: bool) -> bool:
        """In one transaction with the books: the next intent is checked with the new cap."""
        cap = asked_budget(value)
        if cap == self._cap or dry_run:
            return cap != self._cap
        context = self._context
        words = f"budget {dollars(cap)}"
        change = ChangeCap(
            context.runtime.clock.now(), context.run.seq, context.run.run_id, cap, words, reason
        )
        # First: an intent that opens a new day's line writes the caps that it was made with.
        self._cap, context.changed_cap = cap, cap
        spent = await context.ledger.apply(change)
        context.events.emit(Noticed(f"{words} by fluxbatch ctl{because(reason)}"))
        if spent + context.reserve > cap:  # nothing that runs can make room: also while paused
            context.stop(ExitCode.STOPPED, no_room_words(cap, context.reserve))
        context.queue.unblock()
        return True

    async def _record(self, change: str, reason: str) -> None:
        await record_change(self._context, change, reason)


async def record_change(context: WorkerContext, change: str, reason: str) -> None:
    """Write it into the run's history, and say it."""
    at = context.runtime.clock.now()
    await context.ledger.apply(RecordChange(at, context.run.seq, change, reason))
    context.events.emit(Noticed(f"{change} by fluxbatch ctl{because(reason)}"))


def _added(request: Mapping[str, Any], label: str) -> ApiKey:
    return key_to_add(str(request.get("key") or ""), label, str(request.get("account") or ""))


def lane_state(lane: Lane, now_s: float) -> dict[str, Any]:
    """A lane as `ctl show` has it."""
    return {
        "label": lane.label,
        "health": lane.health(now_s),
        "slots_held": lane.held,
        "slots": lane.slots.limit,
        "creates_in_window": lane.window.in_use(now_s),
        "creates": lane.creates.limit,
    }


def no_room_words(cap: Micros, reserve: Micros) -> str:
    """Why a run stops whose cap was lowered."""
    return f"the budget of ${as_usd(cap)} per run has no room for another ${as_usd(reserve)}"


def obey(context: WorkerContext, controls: RunControls) -> None:
    """Do what was asked of a run that processes share; what is older than the last changes nothing.

    Source: docs/design/protocol.md 10.
    """
    before, limits = context.controls, context.settings.limits
    if before is not None and controls.number <= before.number:
        return
    context.controls, context.changed_cap = controls, controls.cap
    for lane in context.lanes.all:
        lane.is_off = lane.account in controls.lanes_off
        lane.slots.limit = controls.slots or limits.concurrent
        if lane.creates.limit != (most := controls.creates or limits.creates):
            _limit_creates(lane, most)
    context.lanes.suspend(controls.paused)
    context.grow()
    context.queue.unblock()
    if before is not None:
        context.events.emit(Noticed(controls.latest))
    elif controls.in_force:
        context.events.emit(Noticed(f"fluxbatch ctl has changed this run: {controls.in_force}"))


def limit_like(lane: Lane, other: Lane) -> None:
    """*lane* may create as much as *other* by now."""
    lane.slots.limit = other.slots.limit
    if lane.creates.limit != other.creates.limit:
        _limit_creates(lane, other.creates.limit)


def _limit_creates(lane: Lane, most: int) -> None:
    lane.creates.limit = most
    lane.bucket = AsyncLimiter(most, lane.window.window_s)


AnswerCommand = Callable[[bytes], Awaitable[dict[str, Any]]]
"""What came of one line of a request."""


class AddKey(Protocol):
    """Whether the run has the key from now on, and did not before."""

    async def __call__(self, key: ApiKey, reason: str, *, dry_run: bool) -> bool: ...


OpenControl = Callable[[AnswerCommand], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def taking_commands(
    context: WorkerContext, path: Path, add_key: AddKey, open_control: OpenControl | None = None
) -> AsyncIterator[None]:
    """Take commands at the socket *path* meanwhile; where that cannot be made, say so once.

    *add_key* takes a key for the run. *open_control* takes the socket's place: a simulation has
    none.
    """
    control = RunControl(context, add_key)
    if open_control is not None:
        async with open_control(control.answer):
            yield
        return
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)  # of a process that was killed: this one holds the dataset's lock
        with reachable(path) as near:
            listener = await anyio.create_unix_listener(near, mode=0o600)
    except OSError as exc:
        context.notice_once(f"the run cannot be controlled (fluxbatch ctl): {exc.strerror or exc}")
        yield
        return

    async def serve(stream: ByteStream) -> None:
        async with stream:
            with anyio.move_on_after(_PATIENCE_S), suppress(anyio.BrokenResourceError, OSError):
                line = await _line(stream)
                answer = json.dumps(await control.answer(line)) + "\n"
                await stream.send(answer.encode())

    # The socket outside of its tasks: closing it awaits, and would put a cancellation in the place
    # of whatever error ends the run.
    try:
        async with listener, anyio.create_task_group() as serving:
            serving.start_soon(listener.serve, serve, name="control")
            yield
            serving.cancel_scope.cancel()
    finally:
        with suppress(OSError):
            os.unlink(path)


async def _line(stream: ByteStream) -> bytes:
    """Up to the end of a line, or of the stream; never more than a request may have."""
    line = b""
    while b"\n" not in line and len(line) < _MOST_BYTES:
        try:
            line += await stream.receive(_MOST_BYTES)
        except anyio.EndOfStream:
            break
    return line
