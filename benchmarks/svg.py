"""Charts as SVG text: bars side by side, and curves. No library, readable in light and dark.

Owns how a chart looks. What is shown, and of which benchmark, is `plot`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 720
_STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .soft { fill: #656d76 } .small { font-size: 11px }
.page { fill: #ffffff }
.value { stroke: #ffffff; stroke-width: 4px; paint-order: stroke }
.grid { stroke: #e4e7eb } .axis { stroke: #8c959f }
.c0 { fill: #2563eb; stroke: #2563eb } .c1 { fill: #8b98a9; stroke: #8b98a9 }
.c2 { fill: #d97706; stroke: #d97706 } .c3 { fill: #0d9488; stroke: #0d9488 }
.goal { stroke: #c026a0; stroke-dasharray: 4 3 } text.goal { fill: #c026a0; stroke: none }
.line { fill: none; stroke-width: 2 } .bar { stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .soft { fill: #9198a1 } .page { fill: #0d1117 }
  .value { stroke: #0d1117 } .grid { stroke: #262c36 } .axis { stroke: #656d76 }
  .c0 { fill: #6ea0ff; stroke: #6ea0ff } .c1 { fill: #6b7685; stroke: #6b7685 }
  .c2 { fill: #f0a04b; stroke: #f0a04b } .c3 { fill: #2dd4bf; stroke: #2dd4bf }
  .goal { stroke: #e879d4 } text.goal { fill: #e879d4 } .line { fill: none }
}
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """A line that should be met."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure, a bar for each label."""

    title: str
    values: Mapping[str, float]
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one name."""

    name: str
    points: Sequence[tuple[float, float]]
    is_joined: bool = True


@dataclass(frozen=True, slots=True)
class Axes:
    """What the two directions of a curve mean."""

    x: str
    y: str
    log_x: bool = False
    from_zero: bool = True
    goal: Goal | None = None


_TOP, _ROW, _BAR, _GAP, _EDGE = 84, 44, 16, 28, 24


def bars(title: str, foot: str, panels: Sequence[Panel]) -> str:
    """Panels side by side; every panel has its own scale, which begins at 0."""
    rows = max(len(panel.values) for panel in panels)
    height = _TOP + rows * _ROW + 44
    width = (_WIDTH - 2 * _EDGE - _GAP * (len(panels) - 1)) / len(panels)
    parts = [
        part
        for number, panel in enumerate(panels)
        for part in _panel(panel, _EDGE + number * (width + _GAP), width, rows)
    ]
    return _document(title, foot, height, parts)


def _panel(panel: Panel, left: float, width: float, rows: int) -> Iterator[str]:
    goal = panel.goal
    most = max([*panel.values.values(), goal.at if goal else 0.0, 1e-9])
    scale = (width - 52) / most  # room for the value beside the longest bar
    yield _text(left, 56, panel.title)
    if goal is not None:
        x, bottom = left + goal.at * scale, _TOP + rows * _ROW - 10
        yield _line(x, _TOP - 4, x, bottom, "goal")
        anchor = "end" if goal.at * scale > width * 0.45 else "start"
        yield _text(x, bottom + 14, goal.words, "goal small", anchor)
    for row, (label, value) in enumerate(panel.values.items()):
        top = _TOP + row * _ROW
        yield _text(left, top + 4, label, "soft small")
        yield (
            f'<rect class="bar c{min(row, 1)}" x="{left:.1f}" y="{top + 10}" rx="2"'
            f' width="{max(value * scale, 1):.1f}" height="{_BAR}"/>'
        )
        yield _text(left + max(value * scale, 1) + 6, top + 22, number_words(value), "value")


_LEFT, _RIGHT, _PLOT_TOP, _PLOT_BOTTOM, _HEIGHT = 68, 24, 84, 320, 390


def curves(title: str, foot: str, axes: Axes, series: Sequence[Series]) -> str:
    """Lines and points over one pair of axes."""
    frame = _Frame(axes, series)
    parts = [*frame.grid(), *_legend(series)]
    for number, one in enumerate(series):
        places = [frame.at(x, y) for x, y in one.points]
        if one.is_joined:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="line c{number}" points="{path}"/>')
        size = 3 if one.is_joined else 6
        parts += [
            f'<circle class="c{number}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>' for x, y in places
        ]
    return _document(title, foot, _HEIGHT, parts)


class _Frame:
    """From figures to places on the page."""

    def __init__(self, axes: Axes, series: Sequence[Series]) -> None:
        self._axes = axes
        xs = [x for one in series for x, _ in one.points]
        ys = [y for one in series for _, y in one.points]
        ys += [axes.goal.at] if axes.goal else []
        self._y_ticks = _ticks(0.0 if axes.from_zero else min(ys), max(ys))
        if axes.log_x:
            lowest, highest = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
            self._x_ticks = [10.0**power for power in range(lowest, highest + 1)]
        else:
            self._x_ticks = _ticks(0.0, max(xs))

    def at(self, x: float, y: float) -> tuple[float, float]:
        low, high = self._along(self._x_ticks[0]), self._along(self._x_ticks[-1])
        right = (self._along(x) - low) / (high - low)
        up = (y - self._y_ticks[0]) / (self._y_ticks[-1] - self._y_ticks[0])
        wide, tall = _WIDTH - _RIGHT - _LEFT, _PLOT_BOTTOM - _PLOT_TOP
        return _LEFT + right * wide, _PLOT_BOTTOM - up * tall

    def _along(self, x: float) -> float:
        return math.log10(x) if self._axes.log_x else x

    def grid(self) -> Iterator[str]:
        for y in self._y_ticks:
            _, place = self.at(self._x_ticks[0], y)
            yield _line(_LEFT, place, _WIDTH - _RIGHT, place, "grid")
            yield _text(_LEFT - 8, place + 4, number_words(y), "soft small", "end")
        for x in self._x_ticks:
            place, _ = self.at(x, self._y_ticks[0])
            yield _line(place, _PLOT_BOTTOM, place, _PLOT_BOTTOM + 4, "axis")
            anchor = "end" if x == self._x_ticks[-1] else "middle"  # or it leaves the page
            yield _text(place, _PLOT_BOTTOM + 18, number_words(x), "soft small", anchor)
        yield _line(_LEFT, _PLOT_BOTTOM, _WIDTH - _RIGHT, _PLOT_BOTTOM, "axis")
        yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _PLOT_BOTTOM + 38, self._axes.x, "", "middle")
        middle = (_PLOT_TOP + _PLOT_BOTTOM) / 2
        yield (
            f'<text x="18" y="{middle}" text-anchor="middle"'
            f' transform="rotate(-90 18 {middle})">{escape(self._axes.y)}</text>'
        )
        if (goal := self._axes.goal) is not None:
            _, place = self.at(self._x_ticks[0], goal.at)
            yield _line(_LEFT, place, _WIDTH - _RIGHT, place, "goal")
            yield _text(_WIDTH - _RIGHT, place - 6, goal.words, "goal small", "end")


def _legend(series: Sequence[Series]) -> Iterator[str]:
    if len(series) < 2:
        return
    left = float(_LEFT)
    for number, one in enumerate(series):
        yield f'<circle class="c{number}" cx="{left + 4:.1f}" cy="56" r="4"/>'
        yield _text(left + 14, 60, one.name, "small")
        left += 34 + 6.4 * len(one.name)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that span both."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if span / (power * part) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def number_words(value: float) -> str:
    """As people write it: 1,000,000 and 0.976."""
    if value >= 1_000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}" if value < 1 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def _document(title: str, foot: str, height: int, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
            _text(_EDGE, 30, title, "title"),
            *parts,
            _text(_EDGE, height - 12, foot, "soft small"),
            "</svg>\n",
        ]
    )
