"""The way to a receiver of OpenTelemetry, and what becomes known of it.

Owns that it never matters to the run: whatever is sent is sent from the SDK's own threads, a
receiver that takes nothing is known as such, its errors are kept from the logs, and the end of a
run waits for it a few seconds at most, or not at all where it was down already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.common.http",
)


class ReceiverHealth(logging.Filter):
    """Whether one signal is taken, heard from what its exporter logs while it sends."""

    def __init__(self, signal: str) -> None:
        super().__init__()
        self.signal = signal
        self.failure = ""
        """Why something was not taken, after all tries, the first time."""
        self.is_down = False
        """The latest try failed; there may be another."""
        self.settled = threading.Event()
        """Nothing is to be waited for: all is sent, or is not taken."""
        self._reason = ""
        self._sending = threading.local()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """What is logged by this thread meanwhile is ours; other users of the SDK keep theirs."""
        self._sending.is_on = True
        try:
            yield
        finally:
            self._sending.is_on = False

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(self._sending, "is_on", False):
            return True
        if record.levelno >= logging.WARNING:
            self._reason = _reason(record) or self._reason
            self.is_down = True
            self.settled.set()
        return False

    def failed(self) -> None:
        """No try is left, or there is no time for another."""
        self.failure = self.failure or self._reason or "it does not answer as it should"
        self.is_down = True
        self.settled.set()

    def taken(self) -> None:
        self.is_down = False
        self.settled.clear()

    def listen(self) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def end(self, shutdown: Callable[[], object]) -> None:
        """Send what is left, in a thread that is left behind where it takes too long."""

        def last() -> None:
            try:
                shutdown()
            finally:
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(self)
                self.settled.set()

        if not self.is_down:
            self.settled.clear()
        threading.Thread(target=last, name=f"last-{self.signal}", daemon=True).start()


def _reason(record: logging.LogRecord) -> str:
    """The status text or the kind of error; never the library's own sentence."""
    values = record.args if isinstance(record.args, tuple) else ()
    for value in values:
        if isinstance(value, Exception):
            return "it cannot be reached"
        if isinstance(value, int):
            return f"it answers {value}"
    return ""


class WatchedSpanExporter(OTLPSpanExporter):
    """Configured by the variables alone."""

    def __init__(self, health: ReceiverHealth) -> None:
        super().__init__()
        self._health = health

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._health.sending():
            result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._health.taken()
        else:
            self._health.failed()
        return result


class WatchedMetricExporter(OTLPMetricExporter):
    """Configured by the variables alone."""

    def __init__(self, health: ReceiverHealth) -> None:
        super().__init__()
        self._health = health

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        with self._health.sending():
            result = super().export(metrics_data, timeout_millis, **kwargs)
        if result is MetricExportResult.SUCCESS:
            self._health.taken()
        else:
            self._health.failed()
        return result
