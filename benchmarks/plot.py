"""A picture of each result: `python -m benchmarks.plot` draws all that are kept.

Owns what of a benchmark is shown, beside which goal.
Source of the goals: docs/design/decisions.md "Goals".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.svg import Axes, Goal, Panel, Series, bars, curves

RESULTS = Path(__file__).parent / "results"
Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Bars:
    """Some figures, a bar for each row that has them."""

    title: str
    shown: Mapping[str, tuple[str, Goal | None]]
    """A figure's name to its words and its goal."""

    def draw(self, rows: Rows, foot: str) -> str:
        panels = [
            Panel(words, {who: float(row[name]) for who, row in rows.items() if name in row}, goal)
            for name, (words, goal) in self.shown.items()
        ]
        return bars(self.title, foot, [panel for panel in panels if panel.values])


@dataclass(frozen=True, slots=True)
class _Curve:
    """One figure against another; a row belongs to the first series its label begins with."""

    title: str
    x: str
    y: str
    axes: Axes
    series: Mapping[str, str]
    """The beginning of a label to the words for its series."""
    alone: frozenset[str] = frozenset()
    """Series of points that no line joins."""

    def draw(self, rows: Rows, foot: str) -> str:
        points: dict[str, list[tuple[float, float]]] = {words: [] for words in self.series.values()}
        for label, row in rows.items():
            begins = next((start for start in self.series if label.startswith(start)), None)
            if begins is not None:
                points[self.series[begins]].append((float(row[self.x]), float(row[self.y])))
        series = [
            Series(words, sorted(found), words not in self.alone)
            for words, found in points.items()
            if found
        ]
        return curves(self.title, foot, self.axes, series)


_KILLS = {
    "billed": ("executions billed", Goal(200, "200 jobs")),
    "double_billed": ("billed twice", None),
    "worst_window": ("creates in the worst 60 s", Goal(100, "limit 100")),
}
_CHARTS: Mapping[str, _Bars | _Curve] = {
    "slot_use": _Bars(
        "10 slots, ~10 s jobs: the share of the slot time used",
        {
            "slot_use": ("share of the slot time", Goal(0.965, "goal by polling 0.965")),
            "polls_per_job": ("polls a job", Goal(7, "at most 7")),
        },
    ),
    "token_use": _Bars(
        "300 three-second jobs, 100 creates in any 60 s",
        {
            "seconds": ("seconds, less is better", Goal(150, "ideal 150 s")),
            "refused": ("refusals (429)", None),
        },
    ),
    "overhead": _Bars(
        "The engine's own cost: limits off, 50 ms jobs, 500 in flight",
        {
            "cpu_ms_per_job": ("CPU a job, ms", None),
            "jobs_per_s": ("jobs a second", Goal(450, "goal 450")),
        },
    ),
    "kills": _Bars("kill -9 again and again in one dataset of 200 jobs", _KILLS),
    "kills_docs": _Bars("The same, where polls give the input back", _KILLS),
    "kills_s3": _Bars("The same, its images in an object store", _KILLS),
    "faults": _Bars(
        "Every transient fault at once",
        {
            "jobs": ("jobs", None),
            "billed": ("executions billed", None),
            "double_billed": ("billed twice", None),
        },
    ),
    "memory": _Curve(
        "The most memory a run takes, by the size of its manifest",
        "rows",
        "max_rss_mb",
        Axes("rows of the manifest", "MB", log_x=True),
        {"": "the engine"},
    ),
    "startup": _Bars(
        "A million jobs: from the command to the first create",
        {
            "rows_per_s": ("rows imported a second", Goal(25_000, "goal 25,000")),
            "first_create_s": ("first create, s (never seen: after it)", Goal(3, "at most 3 s")),
            "of_import_typer": ("times `import typer`", Goal(3, "at most 3")),
        },
    ),
    "million": _Bars(
        "Commands on a ledger of a million done jobs",
        {
            "seconds": ("seconds, less is better", None),
            "max_rss_mb": ("the most memory, MB", None),
            "rows_per_s": ("rows a second", Goal(40_000, "goal 40,000")),
        },
    ),
    "live_page": _Bars(
        "The live page of 50,000 images, opened at each of its views",
        {
            "usable_s": ("seconds to its first picture", Goal(1.5, "at most 1.5 s")),
            "longest_frame_ms": ("longest frame of scrolling, ms", Goal(100, "at most 100 ms")),
            "server_mb": ("memory of the server, MB", Goal(150, "at most 150 MB")),
        },
    ),
    "processes": _Bars(
        "The heavy verbs on 20,000 images, on one core and on two",
        {
            "one_core_s": ("seconds on one core", None),
            "two_s": ("seconds in two processes", None),
            "ratio": ("two processes to one core", Goal(0.6, "at most 0.6")),
        },
    ),
    "ray_workers": _Bars(
        "50 accounts over three workers, on Ray and as plain processes",
        {
            "first_minute": ("share of the slot time, first minute", Goal(0.965, "goal 0.965")),
            "later": ("share of the slot time, later", Goal(0.965, "goal 0.965")),
            "cpu_ms_per_job": ("CPU a job, ms", None),
        },
    ),
    "poll_frontier": _Curve(
        "Polls a job against the slot time used, durations lognormal(10 s, 0.15)",
        "polls_per_job",
        "slot_use",
        Axes("polls a job", "share of the slot time", from_zero=False),
        {
            "optimum": "the optimum",
            "plan": "the engine's placing",
            "engine": "as it polls, eager and lazy",
            "fixed": "fixed 2 s",
        },
        frozenset({"as it polls, eager and lazy", "fixed 2 s"}),
    ),
    "scaling": _Curve(
        "Lanes in one process, each at 100 creates in any 60 s",
        "lanes",
        "cpu_share",
        Axes("lanes", "cores used, decoding apart", goal=Goal(1.0, "one core")),
        {"": "the engine"},
    ),
}


def draw(result: Mapping[str, Any]) -> str | None:
    """The SVG of one result as it is kept; None where nobody has said what to show of it."""
    chart = _CHARTS.get(result["benchmark"])
    if chart is None:
        return None
    rows = {label: row for label, row in result.items() if isinstance(row, Mapping)}
    return chart.draw(rows, f"{result['date']} · {result['machine']}")


def keep(result: Mapping[str, Any]) -> None:
    """Write a result and its picture side by side."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['benchmark']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    picture = draw(result)
    if picture is not None:
        path.with_suffix(".svg").write_text(picture, encoding="utf-8")


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        keep(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
