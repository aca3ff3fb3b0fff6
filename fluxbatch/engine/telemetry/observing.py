"""The decision whether a run is observed by OpenTelemetry, and the run that is.

Owns that nothing is imported where no variable asks, and that nothing which goes wrong with it is
more than a note, told once. Source: docs/design/decisions.md "OpenTelemetry".
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.engine.telemetry.environment import TelemetryWanted, telemetry_wanted
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.events import Event, Events, Noticed
from fluxbatch.infra.runtime import Runtime

if TYPE_CHECKING:
    from fluxbatch.engine.telemetry.run_telemetry import RunTelemetry

_Show = Callable[[RunStatus], None]
_Work = Callable[[Events, _Show | None], Awaitable[RunSummary]]


async def with_telemetry(
    request: RunRequest, events: Events, runtime: Runtime, on_status: _Show | None, work: _Work
) -> RunSummary:
    """Do *work* with the events and the status listener it is to have. Raises what it raises."""
    wanted = telemetry_wanted(os.environ)
    telemetry = _opened(wanted, request, events, runtime) if wanted is not None else None
    if telemetry is None:
        return await work(events, on_status)
    observed = _Observed(telemetry, events, on_status)
    try:
        return await work(telemetry.listening(events, observed.hear), observed.see)
    except FluxbatchError as exc:
        telemetry.ended(exc.exit_code, str(exc))
        raise
    except Exception as exc:
        telemetry.ended(ExitCode.ERROR, f"unexpected {type(exc).__name__}")
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await runtime.to_thread(telemetry.close)
        observed.note()


def _opened(
    wanted: TelemetryWanted, request: RunRequest, events: Events, runtime: Runtime
) -> RunTelemetry | None:
    for problem in wanted.problems:
        events.emit(Noticed(problem))
    if not wanted.signals:
        return None
    try:
        from fluxbatch.engine.telemetry.run_telemetry import RunTelemetry
    except ImportError:
        events.emit(
            Noticed(
                "OTEL_* variables ask for telemetry, and OpenTelemetry is not installed:"
                "  pip install 'fluxbatch-engine[otel]'"
            )
        )
        return None
    try:
        return RunTelemetry(request, runtime.clock, wanted.signals)
    except Exception as exc:  # noqa: BLE001  # whatever a variable makes the SDK do: no run fails of it
        events.emit(Noticed(f"OpenTelemetry cannot be set up as OTEL_* says: {exc}"))
        return None


class _Observed:
    """The listeners of an observed run; a receiver that fails is noted once."""

    def __init__(self, telemetry: RunTelemetry, events: Events, on_status: _Show | None) -> None:
        self._telemetry = telemetry
        self._events = events
        self._on_status = on_status
        self._is_told = False

    def hear(self, event: Event, /) -> None:
        self._telemetry.hear(event)
        self.note()

    def see(self, status: RunStatus, /) -> None:
        self._telemetry.see(status)
        if self._on_status is not None:
            self._on_status(status)
        self.note()

    def note(self) -> None:
        if not self._is_told and (failure := self._telemetry.failure):
            self._is_told = True
            self._events.emit(Noticed(f"{failure}; the run goes on without"))
