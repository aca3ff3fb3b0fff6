"""The spans of a run: one of its own, and one an attempt, linked to it.

Owns what they are called and what they carry, by the OpenTelemetry conventions for generative AI,
which are still in development. No prompt is in them. An attempt is a trace of its own: a run of
100,000 would be no trace that anything can show. Source: docs/design/decisions.md "Traces".
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from fluxbatch.domain.job import PredictionState
from fluxbatch.errors import ExitCode
from fluxbatch.events import Event, PredictionMoved, RunEnded, RunStarted

RUN_SPAN = "fluxbatch run"
OPERATION = "generate_content"
_AS_PLANNED = frozenset({ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.STOPPED})


class AttemptSpans:
    """Begins and ends spans as events come."""

    def __init__(
        self, tracer: Tracer, dataset: str, model: str, base_url: str, redact: Callable[[str], str]
    ) -> None:
        self._tracer = tracer
        self._model = model
        self._redact = redact
        self._everywhere: dict[str, AttributeValue] = {"fluxbatch.dataset": dataset}
        provider = urlsplit(base_url)
        self._provider: dict[str, AttributeValue] = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.output.type": "image",
            "gen_ai.provider.name": "eachlabs",
            "server.address": provider.hostname or "",
            "server.port": provider.port or (80 if provider.scheme == "http" else 443),
        }
        self._run: Span | None = None
        self._open: dict[int, tuple[Span, PredictionState]] = {}

    def hear(self, event: Event, /) -> None:
        if isinstance(event, PredictionMoved):
            self._moved(event)
        elif isinstance(event, RunStarted) and self._run is None:
            self._everywhere["fluxbatch.run.id"] = event.run_id
            self._run = self._tracer.start_span(RUN_SPAN, attributes={
                **self._everywhere, "gen_ai.request.model": self._model,
                "fluxbatch.jobs": event.jobs, "fluxbatch.jobs.done": event.done,
                "fluxbatch.run.continued": event.continued,
            })  # fmt: skip
        elif isinstance(event, RunEnded):
            self.end(event.exit_code, event.reason)

    def end(self, exit_code: int, reason: str = "") -> None:
        """End them all; what still runs is left to the next process."""
        for span, _ in self._open.values():
            span.end()
        self._open.clear()
        if self._run is None:
            return
        self._run.set_attribute("fluxbatch.exit_code", exit_code)
        if exit_code not in _AS_PLANNED:
            self._run.set_attribute("error.type", f"exit {exit_code}")
            self._run.set_status(Status(StatusCode.ERROR, self._redact(reason)))
        self._run.end()

    def _moved(self, event: PredictionMoved) -> None:
        state = event.state
        span, was = self._open.get(event.prediction, (None, None))
        if state is was or (span is None and not state.is_live):
            return  # a poll, or what was learned after the end
        if span is None:
            span = self._begun(event)
        span.set_attribute("fluxbatch.state", state.value)
        if event.provider_id:
            span.set_attribute("gen_ai.response.id", event.provider_id)
        if state.is_live:
            self._open[event.prediction] = span, state
            if was is not None:
                span.add_event(state.value)
            return
        del self._open[event.prediction]
        if event.cost is not None:
            span.set_attribute("fluxbatch.cost.usd", event.cost / 1_000_000)
        if state is not PredictionState.SUCCEEDED:
            span.set_attribute("error.type", event.failure or state.value)
            span.set_status(Status(StatusCode.ERROR, self._redact(event.reason or "")))
        span.end()

    def _begun(self, event: PredictionMoved) -> Span:
        model = event.model or self._model
        attributes: dict[str, AttributeValue] = {
            **self._provider, **self._everywhere, "gen_ai.request.model": model,
            "fluxbatch.job.id": event.job, "fluxbatch.attempt": event.attempt,
            "fluxbatch.account": event.lane,
        }  # fmt: skip
        if event.seed is not None:
            attributes["gen_ai.request.seed"] = event.seed
        if event.state is not PredictionState.SUBMITTING:
            attributes["fluxbatch.adopted"] = True  # begun by an earlier process, or found late
        links = [Link(self._run.get_span_context())] if self._run is not None else []
        return self._tracer.start_span(
            f"{OPERATION} {model}",
            context=Context(),  # no parent, whatever is current here
            kind=SpanKind.CLIENT,
            links=links,
            attributes=attributes,
        )
