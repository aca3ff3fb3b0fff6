"""The hooks of a run: code of other packages that is handed each new image.

Owns that a hook is never in a run's way: it lives in a process of its own, is handed an image once
that is stored and in the ledger, has bounded time for each and a bounded queue. One that fails,
hangs or falls behind is told of and changes neither a job nor the exit code.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress

import anyio

from fluxbatch.config.plugins import Plugin, installed_plugins
from fluxbatch.config.settings import Hooks
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.hooks.process import HookAnswer, HookProcess, hook_process
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.shutdown import unwrap_errors
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.events import Event, Events, Noticed, OutputStored

_MOST_WAITING = 10_000
"""Images that wait for one hook; beyond that they are left out."""
_SILENT_S = 2.0
"""So long nobody is told that hooks are waited for."""
_MOST_BROKEN = 3
"""Processes in a row that broke: one more would break too."""
_INTERRUPTED = {ExitCode.INTERRUPTED, ExitCode.TERMINATED}


async def with_hooks(
    hooks: Hooks,
    folder: Folder,
    events: Events,
    work: Callable[[Events], Awaitable[RunSummary]],
    *,
    handle_signals: bool = False,
) -> RunSummary:
    """Do *work* with the events that it is to publish, and hand each image it stores to the hooks.

    Waits `hooks.grace` for them at the end; with *handle_signals* Ctrl-C ends that waiting. Raises
    what *work* raises, and `ConfigError` before it for a name in `hooks.names` that is not
    installed.
    """
    queues = [HookQueue(plugin, hooks, folder, events) for plugin in _chosen(hooks)]
    if not queues:
        return await work(events)
    with unwrap_errors():
        async with anyio.create_task_group() as tasks:
            for queue in queues:
                tasks.start_soon(queue.run, name=f"hook-{queue.name}")
            summary = await work(events.heard_by(*(queue.hear for queue in queues)))
            wait_s = 0.0 if summary.exit_code in _INTERRUPTED else hooks.grace
            with anyio.move_on_after(wait_s) as waiting:
                if handle_signals and any(queue.waiting for queue in queues):
                    tasks.start_soon(_leave_on_signal, waiting)
                await _served(queues, events, wait_s)
            tasks.cancel_scope.cancel()
    for queue in queues:
        queue.tell()
    return summary


def _chosen(hooks: Hooks) -> Sequence[Plugin]:
    if hooks.names is not None and not hooks.names:
        return []
    found = installed_plugins("hooks")
    for name in hooks.names or ():
        if name not in found:
            there = ", ".join(repr(one) for one in found) or "none"
            raise ConfigError(f"hooks.names: no hook {name!r} is installed; there is {there}")
    return list(found.values()) if hooks.names is None else [found[name] for name in hooks.names]


async def _served(queues: Sequence[HookQueue], events: Events, wait_s: float) -> None:
    for queue in queues:
        queue.close()
    with anyio.move_on_after(_SILENT_S):
        await _all_ended(queues)
        return
    left = sum(queue.waiting for queue in queues)
    events.emit(
        Noticed(f"hooks have {left:,} images left; {wait_s:g} s are waited for them at most")
    )
    await _all_ended(queues)


async def _all_ended(queues: Sequence[HookQueue]) -> None:
    for queue in queues:
        await queue.ended.wait()


async def _leave_on_signal(waiting: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            waiting.cancel()


class HookQueue:
    """The images on their way to one hook."""

    def __init__(self, plugin: Plugin, hooks: Hooks, folder: Folder, events: Events) -> None:
        self.name = plugin.name
        self.ended = anyio.Event()
        self._title = f"hook {plugin.name!r} of {plugin.package}"
        self._timeout_s = hooks.timeout
        self._folder = folder
        self._events = events
        self._send, self._receive = anyio.create_memory_object_stream[str](_MOST_WAITING)
        self._images = self._done = self._failed = 0
        self._latest = ""
        self._is_off = False

    @property
    def waiting(self) -> int:
        """Images that it has not been called with, or not to the end."""
        return 0 if self._is_off else self._images - self._done - self._failed

    def hear(self, event: Event) -> None:
        """Note an image; never waits."""
        if isinstance(event, OutputStored):
            self._images += 1
            with suppress(anyio.WouldBlock, anyio.BrokenResourceError):
                self._send.send_nowait(event.path)

    def close(self) -> None:
        """No more will come."""
        self._send.close()

    async def run(self) -> None:
        """Call it with each image, in a process that is started for the first one."""
        broken = 0
        with self._receive:
            process: HookProcess | None = None
            async with AsyncExitStack() as stack:
                async for path in self._receive:
                    if process is None:
                        process = await stack.enter_async_context(
                            hook_process(self.name, self._folder, self._timeout_s)
                        )
                        if why := process.why_not_loaded:
                            self._switch_off(why)
                            break
                    answer = await process.call(path)
                    self._count(path, answer)
                    broken = broken + 1 if answer.is_broken else 0
                    if answer.is_broken:
                        await stack.aclose()
                        process = None
                    if broken == _MOST_BROKEN:
                        self._switch_off(f"it broke {broken} times in a row")
                        break
        self.ended.set()

    def tell(self) -> None:
        """What did not reach it, or failed, in one sentence; nothing where all is well."""
        left = self._images - self._done - self._failed
        words = [
            f"{self._failed:,} failed, the last: {self._latest}" if self._failed else "",
            f"{left:,} did not reach it" if left else "",
        ]
        if said := "; ".join(word for word in words if word):
            self._notice(f"of {self._images:,} images {said}. All of them are stored")

    def _count(self, path: str, answer: HookAnswer) -> None:
        if not answer.failure:
            self._done += 1
            return
        self._failed += 1
        self._latest = answer.failure
        if self._failed == 1:
            self._notice(f"{path}: {answer.failure}")

    def _switch_off(self, why: str) -> None:
        self._is_off = True
        self._notice(f"{why}; it is called no more in this run")

    def _notice(self, words: str) -> None:
        self._events.emit(Noticed(f"{self._title}: {words}"))
