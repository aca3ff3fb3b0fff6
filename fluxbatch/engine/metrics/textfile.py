"""The file of a run's metrics (`metrics.textfile`), for node_exporter's textfile collector.

Owns when it is written: at the start, every 15 s and at the end, however the run ends; and that it
never matters to the run. Nightly runs are too short to be scraped. Source:
docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from fluxbatch.config.settings import MetricsSettings
from fluxbatch.engine.metrics.run_metrics import RunMetrics
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.engine.shutdown import unwrap_errors
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError
from fluxbatch.events import Events, Noticed
from fluxbatch.infra.atomic_file import atomic_file
from fluxbatch.infra.runtime import Runtime

_EVERY_S = 15.0
Show = Callable[[RunStatus], None]


async def with_textfile(
    settings: MetricsSettings,
    dataset: str,
    events: Events,
    runtime: Runtime,
    on_status: Show | None,
    work: Callable[[Events, Show | None], Awaitable[RunSummary]],
) -> RunSummary:
    """Do *work* with the events and the status listener it is to have, and write what it tells.

    Raises what *work* raises, and `ConfigError` before it where the file cannot be written.
    """
    if settings.textfile is None:
        return await work(events, on_status)
    metrics = RunMetrics(dataset, runtime.clock)
    file = _Textfile(settings.textfile, metrics, events, runtime)
    await file.begin()

    def see(status: RunStatus) -> None:
        metrics.see(status)
        if on_status is not None:
            on_status(status)

    try:
        with unwrap_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(file.run, name="metrics")
                summary = await work(events.heard_by(metrics.hear, meters=[metrics.measure]), see)
                tasks.cancel_scope.cancel()
    except FluxbatchError as exc:
        metrics.ended(exc.exit_code)
        raise
    except Exception:
        metrics.ended(ExitCode.ERROR)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await file.write()
    return summary


class _Textfile:
    """Writes the metrics whole or not at all; a disk that takes nothing is noted once."""

    def __init__(self, path: str, metrics: RunMetrics, events: Events, runtime: Runtime) -> None:
        self._path = Path(path).expanduser()
        self._metrics = metrics
        self._events = events
        self._to_thread = runtime.to_thread
        self._is_told = False

    async def begin(self) -> None:
        try:
            await self._put()
        except OSError as exc:
            raise ConfigError(
                f"metrics.textfile: cannot write {str(self._path)!r}: {exc.strerror}"
            ) from exc

    async def run(self) -> None:
        while True:
            await anyio.sleep(_EVERY_S)
            await self.write()

    async def write(self) -> None:
        try:
            await self._put()
        except OSError as exc:
            if not self._is_told:
                self._is_told = True
                message = f"the metrics {str(self._path)!r} are not written: {exc.strerror}"
                self._events.emit(Noticed(message))

    async def _put(self) -> None:
        content = self._metrics.text().encode()  # now: a thread would read while events come
        await self._to_thread(partial(_replace, self._path, content))


def _replace(path: Path, content: bytes) -> None:
    """Not synced: after a power loss there is nothing to observe. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path.parent) as file:
        file.write(content)
        file.commit(path, sync=False)
