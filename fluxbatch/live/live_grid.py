"""The grid of the live page: a sweep's cells as the ledger has them now, as JSON.

Owns what is held in memory between two questions: the rows of the latest manifest, where each of
their jobs stands, and the views that were asked for last. The rows are read anew with every
invocation of a run, and the jobs as their history grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from fluxbatch.dataset.model_card import kept_card
from fluxbatch.dataset.run_standing import shaped
from fluxbatch.domain.money import Micros
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.grid_jobs import (
    GridJob,
    changed_grid_jobs,
    count_grid_rows,
    count_rerolled,
    grid_jobs,
    grid_rows,
    rerolled_pairs,
)
from fluxbatch.ledger.queries.live_images import ledger_revision
from fluxbatch.ledger.queries.live_run import WatchedRun, watched_run
from fluxbatch.ledger.queries.runs_and_failures import ListedManifest, latest_manifest
from fluxbatch.live.grid_axes import ABSENT, GridAxes
from fluxbatch.live.grid_view import GridChoice, GridView

MOST_ROWS = 100_000
"""Rows that a grid holds."""
MOST_LINES = 50_000
"""Columns, and lines: no browser scrolls further."""
_MOST_VALUES = 500
"""Of an axis, to choose one."""
_VIEWS = 2


@dataclass(frozen=True, slots=True)
class GridQuestion:
    """What a page asks for: a choice of axes, and the part of the grid that is in sight."""

    choice: GridChoice | None
    """None: the two longest axes."""
    left: int = 0
    top: int = 0
    wide: int = 0
    high: int = 0
    known: int = 0
    """The number of the axes that the page has already."""


class LiveGrid:
    """Answers questions about the grid of one dataset, one at a time."""

    def __init__(self) -> None:
        self._made_of: object = None
        self._revision = 0
        self._version = 0
        """Grows as the axes are read anew."""
        self._axes = GridAxes((), ())
        self._rows_left_out = 0
        self._jobs: dict[int, GridJob] = {}
        self._views: dict[GridChoice, GridView] = {}
        self._price: Micros | None = None

    def answer(self, db: Database, question: GridQuestion) -> dict[str, Any]:
        """Under the names that the page's script reads."""
        self._refresh(db)
        choice = self._choice(question.choice)
        view = self._view(choice)
        columns = range(question.left, min(question.left + question.wide, len(view.columns)))
        lines = range(question.top, min(question.top + question.high, len(view.lines)))
        told = {
            "version": self._version,
            "choice": {
                "across": choice.across,
                "down": choice.down,
                "facets_across": choice.facets_across,
                "facets_down": choice.facets_down,
                "fixed": dict(choice.fixed),
            },
            "window": {"left": question.left, "top": question.top},
            "columns": len(view.columns),
            "lines": len(view.lines),
            "heads": self._heads(view.columns, columns, (choice.facets_across, choice.across)),
            "sides": self._heads(view.lines, lines, (choice.facets_down, choice.down)),
            "cells": [
                {
                    "column": cell.column,
                    "line": cell.line,
                    "kind": cell.tally.kind,
                    "image": cell.tally.newest,
                    "images": cell.tally.images,
                    "words": cell.tally.words(self._price),
                }
                for cell in view.cells(columns, lines)
            ],
            "words": view.total.words(self._price),
            "cells_left_out": view.left_out,
            "rows_left_out": self._rows_left_out,
        }
        return told if question.known == self._version else {**told, "axes": self._told_axes()}

    def _refresh(self, db: Database) -> None:
        revision, manifest, run = ledger_revision(db), latest_manifest(db), watched_run(db)
        rerolls = count_rerolled(db)
        began = (run.seq, run.began) if run is not None else None
        if (made_of := (manifest, began, rerolls)) != self._made_of:
            self._made_of = None  # half read is not read
            self._read(db, manifest, run)
            self._made_of = made_of
        elif revision > self._revision:
            for job in changed_grid_jobs(db, self._revision):
                self._change(job)
        self._revision = revision

    def _read(self, db: Database, manifest: ListedManifest | None, run: WatchedRun | None) -> None:
        self._jobs, self._views, self._version = {}, {}, self._version + 1
        self._rows_left_out, self._price = 0, None
        if manifest is None:
            self._axes = GridAxes((), ())
            return
        known, last = count_grid_rows(db, manifest.seq)
        rows = islice(grid_rows(db, manifest.seq, last), MOST_ROWS)
        self._axes = GridAxes(rows, rerolled_pairs(db))
        self._rows_left_out = max(known - MOST_ROWS, 0)
        self._price = _price(db, manifest.model, run)
        jobs = grid_jobs(db, manifest.seq, self._axes.last_row)
        self._jobs = {job.seq: job for job in jobs if job.seq in self._axes.of_job}
        self._raise_price(max((job.highest_cost for job in self._jobs.values()), default=Micros(0)))

    def _change(self, job: GridJob) -> None:
        before = self._jobs.get(job.seq)
        if job == before or job.seq not in self._axes.of_job:
            return
        self._jobs[job.seq] = job
        self._raise_price(job.highest_cost)
        for view in self._views.values():
            view.change(before, job)

    def _raise_price(self, cost: Micros) -> None:
        """No reservation is less than what one has cost. Source: docs/design/protocol.md 5."""
        if cost and (self._price is None or cost > self._price):
            self._price = cost

    def _choice(self, asked: GridChoice | None) -> GridChoice:
        """*asked* without axes that there are not, and without one twice."""
        if asked is None:
            longest = sorted(self._axes.axes, key=lambda axis: -len(axis.values))
            down, across = ([axis.name for axis in longest] + ["", ""])[:2]
            return GridChoice(across=across, down=down)
        names = dict.fromkeys(axis.name for axis in self._axes.axes)
        kept: dict[str, str] = {}
        for part in ("across", "down", "facets_across", "facets_down"):
            name = getattr(asked, part)
            kept[part] = name if name in names else ""
            names.pop(name, None)
        fixed = tuple((name, value) for name, value in asked.fixed if name in names)
        return replace(asked, **kept, fixed=fixed)

    def _view(self, choice: GridChoice) -> GridView:
        view = self._views.pop(choice, None)
        if view is None:
            if len(self._views) >= _VIEWS:
                del self._views[next(iter(self._views))]
            view = GridView(self._axes, choice, self._jobs, MOST_LINES)
        self._views[choice] = view  # the one that was asked for last is the last to go
        return view

    def _heads(
        self, keys: list[tuple[int, int]], places: range, names: tuple[str, str]
    ) -> list[list[str | None]]:
        """The values of the facet and of the axis, None where a row has none."""
        found = [self._axes.place_of(name) for name in names]
        return [
            [
                None if at is None or value == ABSENT else self._axes.axes[at].values[value]
                for at, value in zip(found, keys[place], strict=True)
            ]
            for place in places
        ]

    def _told_axes(self) -> list[dict[str, Any]]:
        return [
            {"name": axis.name, "count": len(axis.values), "values": axis.values[:_MOST_VALUES]}
            for axis in self._axes.axes
        ]


def _price(db: Database, model: str, run: WatchedRun | None) -> Micros | None:
    """What the latest run takes for one of the model; None where nobody knows."""
    try:
        return kept_card(db, model, shaped(run).price if run is not None else None).price
    except ConfigError:
        return None
