"""The instruments of OpenTelemetry that carry a run's metrics, under the same names.

Owns the mapping alone: what is counted is asked of `RunMetrics` whenever the SDK collects, in a
thread of its own. Durations are handed on as they come, for the SDK makes its own histograms.
Source: docs/design/decisions.md "OpenTelemetry".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from fluxbatch.engine.metrics.exposition import MetricFamily
from fluxbatch.engine.metrics.families import ALL_METRICS, DURATION_BOUNDS_S, DURATIONS
from fluxbatch.engine.metrics.run_metrics import RunMetrics


def export_metrics(meter: Meter, metrics: RunMetrics, everywhere: Mapping[str, str]) -> None:
    """Have *meter* observe *metrics*, each sample with the attributes *everywhere* as well."""
    for family in ALL_METRICS:
        if family.kind != "histogram":
            create = (
                meter.create_observable_counter
                if family.kind == "counter"
                else meter.create_observable_gauge
            )
            observe = partial(_observed, family.name, metrics.families, everywhere)
            create(family.name, [observe], description=family.help)
    durations = meter.create_histogram(
        DURATIONS.name,
        unit="s",
        description=DURATIONS.help,
        explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
    )
    metrics.on_duration = partial(durations.record, attributes=dict(everywhere))


def _observed(
    name: str,
    families: Callable[[], Iterable[MetricFamily]],
    everywhere: Mapping[str, str],
    _: CallbackOptions,
) -> Iterator[Observation]:
    for family in families():
        if family.name == name:
            for _ending, labels, value in family.samples:
                yield Observation(value, {**everywhere, **labels})
