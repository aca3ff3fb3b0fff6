"""The output of `costs`: a table, an object or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from fluxbatch.cli.render.text import count
from fluxbatch.domain.formatting import dollars, shortened
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.ledger.queries.spending import AXIS, Spending
from fluxbatch.report.spending_table import SpendingTable

_NAME_CHARS = 48
_HEADINGS = ("creates", "images", "spent", "at risk", "on failures", "an image")
_COLUMNS = ("creates", "images", "spent_usd", "at_risk_usd", "on_failures_usd", "image_usd")


def costs_lines(table: SpendingTable) -> Iterator[str]:
    """A heading, a line a group and the total."""
    lines = [(_shown(value), *_cells(spent)) for value, spent in table.lines()]
    cells = [(table.by.removeprefix(AXIS), *_HEADINGS), *lines, ("total", *_cells(table.total))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for name, *figures in cells:
        padded = [f"{text:>{width}}" for text, width in zip(figures, widths[1:], strict=True)]
        yield "  ".join([f"{name:{widths[0]}}", *padded])


def _shown(value: str | None) -> str:
    return "-" if value is None else shortened(value, _NAME_CHARS) or '""'


def _cells(spent: Spending) -> tuple[str, ...]:
    image = "-" if spent.an_image is None else dollars(spent.an_image)
    money = map(dollars, (spent.spent, spent.at_risk, spent.on_failures))
    return f"{spent.creates:,}", f"{spent.images:,}", *money, image


def costs_notes(table: SpendingTable) -> Iterator[str]:
    """What somebody who reads the figures should know."""
    for place in table.repeated:
        yield f"{place!r} is the same dataset once more, and is counted once"
    for place, change in table.changes:
        where = f"{place}: " if len(table.places) > 1 else ""
        images = f" of {count(change.outputs, 'image')}" if change.outputs > 1 else ""
        yield (
            f"{where}{change.model}: an execution{images} cost {dollars(change.now)} in the run"
            f" {change.now_run}; in the run before, {change.before_run}, it was"
            f" {dollars(change.before)}"
        )


def costs_json(table: SpendingTable) -> dict[str, Any]:
    """The object of `--json`."""
    return {
        "by": table.by,
        "datasets": table.places,
        "groups": [{"value": value, **_fields(spent)} for value, spent in table.lines()],
        "total": _fields(table.total),
        "price_changes": [
            {
                "dataset": place,
                "model": change.model,
                "outputs": change.outputs,
                "before_usd": as_usd(change.before),
                "before_run": change.before_run,
                "now_usd": as_usd(change.now),
                "now_run": change.now_run,
            }
            for place, change in table.changes
        ],
    }


def _fields(spent: Spending) -> Mapping[str, int | str | None]:
    image = None if spent.an_image is None else as_usd(spent.an_image)
    money = map(as_usd, (spent.spent, spent.at_risk, Micros(spent.on_failures)))
    return dict(zip(_COLUMNS, (spent.creates, spent.images, *money, image), strict=True))


def costs_csv(table: SpendingTable) -> Iterator[str]:
    """A heading and a line a group, without the total: whoever reads it can add up."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((table.by, *_COLUMNS))
    for value, spent in table.lines():
        writer.writerow(("" if value is None else value, *_fields(spent).values()))
    yield text.getvalue().removesuffix("\n")
