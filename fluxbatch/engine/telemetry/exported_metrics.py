"""The instruments of OpenTelemetry that carry a run's metrics, under the same names.

Owns the mapping alone: what is counted is asked of `RunMetrics` whenever the SDK collects, in a
thread of its own. Values of histograms are handed on as they come, for the SDK makes its own.
Source: docs/design/decisions.md "OpenTelemetry".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from fluxbatch.engine.metrics.exposition import MetricFamily
from fluxbatch.engine.metrics.families import ALL_METRICS, BOUNDS_S
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
    histograms = {
        family: meter.create_histogram(
            family.name,
            unit="s",
            description=family.help,
            explicit_bucket_boundaries_advisory=bounds,
        )
        for family, bounds in BOUNDS_S.items()
    }

    def record(family: MetricFamily, value: float, labels: Mapping[str, str]) -> None:
        histograms[family].record(value, attributes={**everywhere, **labels})

    metrics.on_observed = record


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
