"""The loop of several processes, of which any may stand still while the others go on.

Owns who stands still. A process is known by a context variable that all its tasks have; while it
stands still none of its callbacks is called, as after a SIGSTOP, and its timers ring when it goes
on. What belongs to no process (the provider, the server's clock) never stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVarTuple, Unpack

from tests.support.clock import AutojumpLoop

PROCESS: ContextVar[str] = ContextVar("PROCESS")
"""The process that a task is part of; unset: none."""

_Call = Callable[[], None]
_Args = TypeVarTuple("_Args")


class ManyProcessesLoop(AutojumpLoop):
    """Virtual time for several processes."""

    def __init__(self, *, most_s: float = 1e9, most_turns: int = 10**9) -> None:
        super().__init__(most_s=most_s, most_turns=most_turns)
        self._held: dict[str, list[_Call]] = {}
        self._until: dict[str, asyncio.TimerHandle] = {}

    def stand_still(self, process: str, for_s: float) -> None:
        """From the next time it would give way, *process* does nothing for so long."""
        if process not in self._held:
            self._held[process] = []
            self._until[process] = super().call_at(
                self.time() + for_s, self.go_on, process, context=Context()
            )

    def go_on(self, process: str) -> None:
        """What should have been called meanwhile is called now, in order."""
        if process in self._held:
            self._until.pop(process).cancel()
            for again in self._held.pop(process):
                again()

    def all_go_on(self) -> None:
        """Nobody stands still: all is over, and each has to hear of it."""
        for process in tuple(self._held):
            self.go_on(process)

    def call_soon(
        self, callback: Callable[[Unpack[_Args]], object], *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.Handle:  # fmt: skip
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        late = _Late(self, process, context, callback, args)
        late.handle = super().call_soon(late, context=context)
        return late.handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Args]], object], *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        late = _Late(self, process, context, callback, args)
        timer = super().call_at(when, late, context=context)
        late.handle = timer
        return timer

    def is_held(self, process: str, again: _Call) -> bool:
        """Whether *process* stands still; then *again* is called when it goes on."""
        held = self._held.get(process)
        if held is None:
            return False
        held.append(again)
        return True

    def soon(self, call: _Call, context: Context) -> None:
        super().call_soon(call, context=context)


class _Late:
    """A callback of a process, which may have to wait until that goes on."""

    __slots__ = ("args", "callback", "context", "handle", "loop", "process")

    def __init__(
        self, loop: ManyProcessesLoop, process: str, context: Context,
        callback: Callable[..., object], args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        self.loop = loop
        self.process = process
        self.context = context
        self.callback = callback
        self.args = args
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        assert self.handle is not None
        if not self.handle.cancelled() and not self.loop.is_held(self.process, self._again):
            self.callback(*self.args)

    def _again(self) -> None:
        self.loop.soon(self, self.context)
