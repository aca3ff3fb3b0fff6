"""The output of `costs`: a table, an object or CSV."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fluxbatch.cli.render.text import count
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import dollars, shortened
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.ledger.queries.spending import (
    AXIS,
    DIMENSIONS,
    PriceChange,
    Spending,
    axis_names,
    price_changes,
    spending_by,
)

_MOST_AXES = 10
_NAME_CHARS = 48
_HEADINGS = ("creates", "images", "spent", "at risk", "on failures", "an image")
_COLUMNS = ("creates", "images", "spent_usd", "at_risk_usd", "on_failures_usd", "image_usd")


def parse_dimension(text: str) -> str:
    """*text* where it is one; raise `ConfigError` with those there are."""
    if text in DIMENSIONS or (text.startswith(AXIS) and text != AXIS):
        return text
    raise ConfigError(f"--by {text!r}: there are {', '.join(DIMENSIONS)} and {AXIS}NAME")


@dataclass(slots=True)
class SpendingTable:
    """The spending of some datasets by one dimension."""

    by: str
    places: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Named again under another name, and counted once."""
    groups: defaultdict[str | None, Spending] = field(
        default_factory=lambda: defaultdict[str | None, Spending](Spending)
    )
    changes: list[tuple[str, PriceChange]] = field(default_factory=list)
    """Each with its dataset."""

    @classmethod
    def read(cls, datasets: Sequence[Folder], by: str) -> SpendingTable:
        """Of all *datasets* together; raise `ConfigError` for an axis that none of them has."""
        table, seen, axes = cls(by), set[str](), set[str]()
        for dataset in datasets:
            with dataset.reader() as db:
                name = dataset_id(db)
                if name in seen:
                    table.repeated.append(dataset.address)
                    continue
                seen.add(name)
                table.places.append(dataset.address)
                for value, spent in spending_by(db, by).items():
                    table.groups[value] += spent
                table.changes += [(dataset.address, change) for change in price_changes(db)]
                if by.startswith(AXIS):
                    axes |= axis_names(db)
        if by.startswith(AXIS) and table.groups and by.removeprefix(AXIS) not in axes:
            raise ConfigError(f"--by {by!r}: {_axes_there_are(sorted(axes))}")
        return table

    @property
    def total(self) -> Spending:
        return sum(self.groups.values(), Spending())

    def lines(self) -> list[tuple[str | None, Spending]]:
        """In the order of their values; what belongs to none comes last."""
        return sorted(self.groups.items(), key=lambda line: (line[0] is None, _order(line[0])))


def _order(value: str | None) -> tuple[float, str]:
    """Numbers by their size, before words."""
    try:
        return float(value or ""), ""
    except ValueError:
        return float("inf"), value or ""


def _axes_there_are(names: Sequence[str]) -> str:
    if not names:
        return "no row that anything was bought for has an axis"
    more = len(names) - _MOST_AXES
    return f"there are {', '.join(names[:_MOST_AXES])}" + (f" and {more} more" if more > 0 else "")


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
