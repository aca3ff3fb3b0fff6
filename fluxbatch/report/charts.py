"""Charts as inline SVG, made by hand: a line under its limit, steps of money, a histogram.

Owns the geometry and the text for screen readers. Colours are classes, so that the page's
light and dark suit them. Pure functions on figures; every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from fluxbatch.domain.formatting import clock
from fluxbatch.report.words import seconds_words

Point = tuple[float, float]
_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 18, 26
_BARS = 28
_NOTHING = 1e-6
"""A smaller figure (seconds, creates, micro-dollars) is none."""


def line_chart(
    title: str,
    summary: str,
    points: Sequence[Point],
    *,
    say: Callable[[float], str],
    limit: tuple[float, str] | None = None,
    steps: bool = False,
) -> Markup:
    """*points* over time as an area; *limit* is a dashed line and its name, *summary* its text."""
    last = max((at for at, _ in points), default=0.0) or 1.0
    most = max([value for _, value in points] + ([limit[0]] if limit else []), default=0.0)
    ticks = nice_ticks(most)
    scale = _Scale(last, ticks[-1])
    parts = [_grid(scale, ticks, say), _time_axis(scale, last)]
    if points:
        path = _path(scale, points, steps=steps)
        floor = f"L{scale.x(points[-1][0])} {scale.y(0)}L{scale.x(points[0][0])} {scale.y(0)}Z"
        parts.append(Markup('<path class="area" d="{}"/>').format(path + floor))
        parts.append(Markup('<path class="line" d="{}"/>').format(path))
    if limit:
        y = scale.y(limit[0])
        parts.append(
            Markup(
                '<line class="limit" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="limit-name" x="{}" y="{}">{}</text>'
            ).format(_LEFT, _WIDTH - _RIGHT, y, y, _WIDTH - _RIGHT, y - 5, limit[1])
        )
    return _svg(title, summary, parts)


def histogram(title: str, summary: str, values: Sequence[float]) -> Markup:
    """How often *values* (seconds, sorted) fall where; the slowest hundredth in the last bar."""
    if not values:
        return _svg(title, summary, [])
    most = nice_ticks(values[min(int(len(values) * 0.99), len(values) - 1)])[-1]
    counts = [0] * _BARS
    for value in values:
        counts[min(int(value / most * _BARS), _BARS - 1)] += 1
    ticks = nice_ticks(max(counts), whole=True)
    scale = _Scale(most, ticks[-1])
    parts = [_grid(scale, ticks, lambda value: f"{value:,.0f}")]
    parts += [_bar(scale, most / _BARS, number, count) for number, count in enumerate(counts)]
    parts += [
        _x_label(scale, most * step / 4, seconds_words(most * step / 4), step / 4)
        for step in range(5)
    ]
    return _svg(title, summary, parts)


def _bar(scale: _Scale, width: float, number: int, count: int) -> Markup:
    left, right, top = scale.x(width * number), scale.x(width * (number + 1)), scale.y(count)
    summary = f"{count:,}: {seconds_words(width * number)} to {seconds_words(width * (number + 1))}"
    return Markup(
        '<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    ).format(_plain(left + 1), top, _plain(right - left - 2), _plain(scale.y(0) - top), summary)


def nice_ticks(most: float, *, whole: bool = False) -> list[float]:
    """Zero and up to five round values, the last at least *most*."""
    if most < _NOTHING:
        return [0.0, 1.0]
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= rough * 0.999)
    if whole:
        step = max(step, 1.0)
    return [step * number for number in range(math.ceil(most / step * 0.999) + 1)]


class _Scale:
    def __init__(self, most_x: float, most_y: float) -> None:
        self._x = (_WIDTH - _LEFT - _RIGHT) / (most_x or 1)
        self._y = (_HEIGHT - _TOP - _BOTTOM) / (most_y or 1)

    def x(self, value: float) -> float:
        return _plain(_LEFT + value * self._x)

    def y(self, value: float) -> float:
        return _plain(_HEIGHT - _BOTTOM - value * self._y)


def _plain(value: float) -> float:
    return round(value, 1)


def _path(scale: _Scale, points: Sequence[Point], *, steps: bool) -> str:
    parts = [f"M{scale.x(points[0][0])} {scale.y(points[0][1])}"]
    for at, value in points[1:]:
        x, y = scale.x(at), scale.y(value)
        parts.append(f"H{x}V{y}" if steps else f"L{x} {y}")
    return "".join(parts)


def _grid(scale: _Scale, ticks: Sequence[float], say: Callable[[float], str]) -> Markup:
    lines = (
        Markup(
            '<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>'
            '<text class="tick end" x="{}" y="{}">{}</text>'
        ).format(
            _LEFT, _WIDTH - _RIGHT, scale.y(tick), scale.y(tick), _LEFT - 7, scale.y(tick) + 4,
            say(tick),
        )
        for tick in ticks
    )  # fmt: skip
    return Markup("").join(lines)


def _time_axis(scale: _Scale, last: float) -> Markup:
    return Markup("").join(
        _x_label(scale, last * step / 4, clock(round(last * step / 4)), step / 4)
        for step in range(5)
    )


def _x_label(scale: _Scale, at: float, words: str, share: float) -> Markup:
    anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
    return Markup('<text class="tick {}" x="{}" y="{}">{}</text>').format(
        anchor, scale.x(at), _HEIGHT - 8, words
    )


def _svg(title: str, summary: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, f"{title}. {summary}", Markup("").join(parts)
    )
