"""The spending of datasets by one dimension: their groups added up, and changes of prices.

Owns how several datasets are one table. The sums of each are its ledger's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from fluxbatch.dataset.folder import Folder
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


@dataclass(slots=True)
class SpendingTable:
    """The spending of some datasets by one dimension."""

    by: str
    """`day`, `run`, `model`, `key` or `axis:NAME`."""
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
        """Of all *datasets* together; raise `ConfigError` for what is no dimension, and for an axis
        that none of them has."""
        _check_dimension(by)
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
            raise ConfigError(f"cannot add up by {by!r}: {_axes_there_are(sorted(axes))}")
        return table

    @property
    def total(self) -> Spending:
        """Of all groups."""
        return sum(self.groups.values(), Spending())

    def lines(self) -> list[tuple[str | None, Spending]]:
        """In the order of their values; what belongs to none comes last."""
        return sorted(self.groups.items(), key=lambda line: (line[0] is None, _order(line[0])))


def _check_dimension(text: str) -> None:
    if text in DIMENSIONS or (text.startswith(AXIS) and text != AXIS):
        return
    raise ConfigError(
        f"cannot add up by {text!r}: there are {', '.join(DIMENSIONS)} and {AXIS}NAME"
    )


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
