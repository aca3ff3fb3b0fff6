"""The telemetry of one run: its spans and metrics, and where they go.

Owns the parts of the SDK, which are this run's alone: a program that embeds us keeps its own
providers, and its current span is the parent of the run's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from fluxbatch._version import __version__
from fluxbatch.config.api_keys import Keyring
from fluxbatch.engine.metrics.run_metrics import RunMetrics
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.engine.telemetry.attempt_spans import AttemptSpans
from fluxbatch.engine.telemetry.exported_metrics import export_metrics
from fluxbatch.engine.telemetry.receiver import (
    ReceiverHealth,
    WatchedMetricExporter,
    WatchedSpanExporter,
)
from fluxbatch.events import Event, Events, Listener
from fluxbatch.infra.redaction import sanitize
from fluxbatch.infra.runtime import Clock

_LAST_S = 3.0
"""What the end of a run waits for a receiver that has answered so far, or was never asked."""


class RunTelemetry:
    """Both listeners are called by the run; `close` ends it."""

    def __init__(self, request: RunRequest, clock: Clock, signals: Sequence[str]) -> None:
        dataset = request.folder.name
        self._metrics = RunMetrics(dataset, clock)
        self._has_metrics = "metrics" in signals
        self._spans: AttemptSpans | None = None
        self._ends: list[tuple[ReceiverHealth, Callable[[], object]]] = []
        resource = _resource()
        if "traces" in signals:
            health = _health("traces")
            tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            tracers.add_span_processor(BatchSpanProcessor(WatchedSpanExporter(health)))
            tracer = tracers.get_tracer("fluxbatch", __version__)
            keys = Keyring.of(request.keys).filter
            self._spans = AttemptSpans(
                tracer, dataset, request.settings.model, request.settings.provider.base_url,
                lambda text: sanitize(keys.text(text)),
            )  # fmt: skip
            self._ends.append((health, tracers.shutdown))
        if self._has_metrics:
            health = _health("metrics")
            reader = PeriodicExportingMetricReader(WatchedMetricExporter(health))
            meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            meter = meters.get_meter("fluxbatch", __version__)
            export_metrics(meter, self._metrics, {"dataset": dataset})
            self._ends.append((health, meters.shutdown))

    def hear(self, event: Event, /) -> None:
        self._metrics.hear(event)
        if self._spans is not None:
            self._spans.hear(event)

    def listening(self, events: Events, hear: Listener) -> Events:
        """*events* with *hear*, and with what the metrics measure where they are sent."""
        return events.heard_by(hear, meters=[self._metrics.measure] if self._has_metrics else [])

    def see(self, status: RunStatus, /) -> None:
        self._metrics.see(status)

    def ended(self, exit_code: int, reason: str) -> None:
        """For an end of which there is no event: an error."""
        self._metrics.ended(exit_code)
        if self._spans is not None:
            self._spans.end(exit_code, reason)

    @property
    def failure(self) -> str:
        """What is not taken, and why; empty while all is."""
        for health, _ in self._ends:
            if health.failure:
                return f"OpenTelemetry: {health.signal} are not taken ({health.failure})"
        return ""

    def close(self) -> None:
        """Send what is left. Blocks, for `_LAST_S` at most."""
        until_s = time.monotonic() + _LAST_S
        for health, shutdown in self._ends:
            health.end(shutdown)
        for health, _ in self._ends:
            is_settled = health.settled.wait(max(0.0, until_s - time.monotonic()))
            if health.is_down or not is_settled:
                health.failed()


def _health(signal: str) -> ReceiverHealth:
    health = ReceiverHealth(signal)
    health.listen()
    return health


def _resource() -> Resource:
    """As the variables name it; a service without a name is called by ours."""
    named = Resource.create({})
    ours: dict[str, Any] = {SERVICE_VERSION: __version__}
    if str(named.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return named.merge(Resource({**ours, SERVICE_NAME: "fluxbatch"}))
    return Resource(ours).merge(named)
