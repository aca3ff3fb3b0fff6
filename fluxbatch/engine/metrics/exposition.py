"""The text format in which Prometheus reads metrics.

Owns its syntax alone. Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Self

Labels = Mapping[str, str]
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""As the text says of itself over HTTP."""
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class MetricFamily(NamedTuple):
    """One metric: its name, what it is, and a value for each set of labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    """One line."""
    samples: tuple[tuple[str, Labels, float], ...] = ()
    """What follows the name, the labels, the value."""

    def with_samples(self, samples: Iterable[tuple[str, Labels, float]]) -> Self:
        return self._replace(samples=tuple(samples))

    def of(self, value: float, **labels: str) -> Self:
        """With this one sample."""
        return self.with_samples([("", labels, value)])


class Histogram:
    """How many values were at most so large; the bounds are seconds, in ascending order."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, **labels: str) -> Iterator[tuple[str, Labels, float]]:
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            below += count
            yield "_bucket", {**labels, "le": _number(bound)}, below
        yield "_sum", labels, self._sum
        yield "_count", labels, below


def exposition(families: Iterable[MetricFamily], everywhere: Labels) -> str:
    """All of them, each sample with the labels *everywhere* as well."""
    return "".join(line + "\n" for family in families for line in _lines(family, everywhere))


def _lines(family: MetricFamily, everywhere: Labels) -> Iterator[str]:
    if not family.samples:
        return
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for ending, labels, value in family.samples:
        pairs = ",".join(
            f'{name}="{text.translate(_ESCAPES)}"'
            for name, text in {**everywhere, **labels}.items()
        )
        yield f"{family.name}{ending}{{{pairs}}} {_number(value)}"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
