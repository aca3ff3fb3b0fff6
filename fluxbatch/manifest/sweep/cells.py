"""Sweeps: axes to vary, as numbered cells that nobody has to write down.

Owns the pinned shape of a sweep in the config (issue 5). A cell is worked out from its number by
arithmetic, so a billion of them cost nothing until they are asked for. The manifest
decides which jobs a cell makes.

`sample` draws without replacement; a larger N with the same seed keeps what a smaller one drew.
The sweeps of `nested` are axes too: a product in a product is one product, of any other the cells
are written down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from math import isqrt, prod
from pathlib import Path

from fluxbatch.config.sweep import Sweep
from fluxbatch.domain.job import Json
from fluxbatch.errors import ConfigError
from fluxbatch.manifest.sweep.axes import Axis, AxisReader, Cell, ListAxis, Values, ZipAxis
from fluxbatch.models import ModelCard, unknown_input

__all__ = ["Cell", "Cells", "shuffled"]

MOST_LISTED = 100_000
"""Cells of a nested sweep that have to be written down."""
_ROUNDS = 6
_WORD = 2**64 - 1


class _Product:
    """Every combination of some axes but for what is excluded, or a sample of them."""

    def __init__(
        self,
        axes: Sequence[Axis],
        excluded: Sequence[Cell],
        sweep: Sweep,
    ) -> None:
        self._axes = axes
        self._excluded = excluded
        self._sample = sweep.sample
        self._seed = sweep.seed
        if not self._available:
            raise ConfigError("sweep: every cell is excluded; nothing is left to make")
        if self._sample is not None and self._sample > self._available:
            raise ConfigError(
                f"sweep: sample: {self._sample}, but the axes give only {self._available} cells"
            )

    @property
    def names(self) -> frozenset[str]:
        """What it varies."""
        return frozenset(name for axis in self._axes for name in axis.names)

    def count(self) -> int:
        """How many cells there are, without making them."""
        return self._available if self._sample is None else min(self._sample, self._available)

    def __iter__(self) -> Iterator[Cell]:
        left = self.count()
        for index in self._order():
            if not left:
                return
            cell = self._cell(index)
            if not any(excluded.items() <= cell.items() for excluded in self._excluded):
                left -= 1
                yield cell

    def by(self, names: Collection[str], most: int) -> Iterator[tuple[Cell, int]] | None:
        """A cell for each different way to set *names*, and how many cells set them so.

        What else is in the cell stands for any. None where that would take more than *most* steps.
        """
        mine = [axis for axis in self._axes if not set(names).isdisjoint(axis.names)]
        if self._sample is not None:
            return ((cell, 1) for cell in self) if self.count() <= most else None
        return self._grouped(mine) if prod(map(len, mine)) <= most else None

    def _grouped(self, mine: list[Axis]) -> Iterator[tuple[Cell, int]]:
        rest = [axis for axis in self._axes if axis not in mine]
        named = {name for axis in mine for name in axis.names}
        for index in range(prod(map(len, mine))):
            cell = _cell(mine, index)
            left = [
                {name: value for name, value in excluded.items() if name not in named}
                for excluded in self._excluded
                if all(cell[name] == excluded[name] for name in named & excluded.keys())
            ]
            if count := _count_left(rest, left):
                yield {**self._cell(0), **cell}, count

    @cached_property
    def _total(self) -> int:
        """Cells before any is excluded."""
        return prod(map(len, self._axes))

    @cached_property
    def _available(self) -> int:
        """Cells after the excluded are gone."""
        return _count_left(self._axes, self._excluded)

    def _order(self) -> Iterator[int]:
        if self._sample is not None:
            return shuffled(self._total, self._seed)
        return iter(range(self._total))

    def _cell(self, index: int) -> Cell:
        return _cell(self._axes, index)


class Cells(_Product):
    """The cells of one sweep, in a fixed order: the last axis moves first."""

    def __init__(
        self, sweep: Sweep, *, card: ModelCard, folder: Path, variables: bool = False
    ) -> None:
        """Raise `ConfigError` for an axis or an exclude that cannot be meant.

        With *variables* a name that is no input is a variable of the templates.
        """
        reader = AxisReader(card, folder, variables=variables)
        tree = _Tree(sweep, reader)
        super().__init__(tree.axes, tree.excluded, sweep)
        self.files = reader.files
        """What the globs found."""
        self.variables = frozenset(tree.names) - card.inputs.keys()
        """Names that only templates can use."""


class _Tree:
    """A sweep and those within it, as the axes of one product and what is left out of it."""

    def __init__(self, sweep: Sweep, reader: AxisReader) -> None:
        self.axes: list[Axis] = []
        self._is_zip = sweep.mode == "zip"
        self.excluded: list[Cell] = []
        lines = [reader.read(name, spec) for name, spec in sweep.axes.items()]
        self._values: dict[str, Values] = {line.names[0]: line.values for line in lines}
        self.axes += lines
        for within in sweep.nested:
            self._take(within, reader)
        self.names = [name for axis in self.axes for name in axis.names]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ConfigError(f"sweep.nested: {twice!r} is an axis of two sweeps; keep one")
        self.excluded += [self._partial(cell, reader) for cell in sweep.exclude]
        if self._is_zip:
            _require_equal_lengths(self.axes)
            self.axes = [ZipAxis(self.axes)]

    def _take(self, sweep: Sweep, reader: AxisReader) -> None:
        tree = _Tree(sweep, reader)
        self._values |= tree._values
        if sweep.mode == "product" and not self._is_zip:
            self.axes += tree.axes
            self.excluded += tree.excluded
            return
        cells = _Product(tree.axes, tree.excluded, sweep)
        if cells.count() > MOST_LISTED:
            raise ConfigError(
                f"sweep.nested: a sweep within may have at most {MOST_LISTED:,} cells,"
                f" unless it is a product in a product; this one has {cells.count():,}"
            )
        self.axes.append(ListAxis(tree.names, list(cells)))

    def _partial(self, given: Mapping[str, object], reader: AxisReader) -> Cell:
        """A partial cell; one that no cell can match is a typing error, not a wish."""
        cell: Cell = {}
        for name, value in given.items():
            if name not in self._values:
                reason = unknown_input(name, self._values).reason
                raise ConfigError(f"sweep.exclude.{name}: {reason}")
            cell[name] = reader.checked(name, value, "sweep.exclude")
            if isinstance(cell[name], list | dict):
                raise ConfigError(
                    f"sweep.exclude.{name}: a list or an object cannot be excluded; write the"
                    " axis without it"
                )
            if cell[name] not in self._values[name]:
                raise ConfigError(f"sweep.exclude.{name}: {value!r} is not a value of this axis")
        if not cell:
            raise ConfigError("sweep.exclude: an empty cell would leave nothing to make")
        return cell


def shuffled(total: int, seed: int) -> Iterator[int]:
    """Every number below *total* once, in an order *seed* decides, in no memory at all.

    A Feistel network over a square just above *total*; numbers outside are walked on. Not
    `random.sample`: that keeps what it drew, and may draw differently in the next Python.
    """
    side = isqrt(total - 1) + 1
    keys = [
        int.from_bytes(hashlib.sha256(f"fluxbatch sweep {seed} {turn}".encode()).digest()[:8])
        for turn in range(_ROUNDS)
    ]
    for index in range(total):
        value = index
        while True:
            left, right = divmod(value, side)
            for key in keys:
                left, right = right, (left + _mixed(right ^ key)) % side
            value = left * side + right
            if value < total:
                break
        yield value


def _mixed(value: int) -> int:
    """The finisher of splitmix64: every bit in moves every bit out."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


def _cell(axes: Sequence[Axis], index: int) -> Cell:
    places: list[int] = []
    for axis in reversed(axes):
        index, at = divmod(index, len(axis))
        places.append(at)
    cell: Cell = {}
    for axis in axes:
        axis.put(places.pop(), cell)
    return cell


def _require_equal_lengths(axes: Sequence[Axis]) -> None:
    lengths = {" and ".join(axis.names): len(axis) for axis in axes}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigError(f"sweep: zip needs axes of one length, but {shown}")


def _count_left(axes: Sequence[Axis], excluded: Sequence[Mapping[str, Json]]) -> int:
    """Cells of the product that no partial cell covers.

    Axis by axis, only the positions that some partial cell names are distinguished; what is left of
    an axis counts as one case. Equal cases are counted once.
    """
    known: dict[tuple[int, frozenset[int]], int] = {}

    def left(depth: int, alive: frozenset[int]) -> int:
        """Cells from this axis on, where *alive* are the partial cells that match so far."""
        if not alive:
            return prod(map(len, axes[depth:]))
        rest = {name for axis in axes[depth:] for name in axis.names}
        if any(not (excluded[i].keys() & rest) for i in alive):
            return 0
        if (depth, alive) not in known:
            axis = axes[depth]
            unnamed = frozenset(i for i in alive if excluded[i].keys().isdisjoint(axis.names))
            matching: dict[int, set[int]] = {}
            for i in alive - unnamed:
                for place in axis.places(excluded[i]):
                    matching.setdefault(place, set()).add(i)
            total = (len(axis) - len(matching)) * left(depth + 1, unnamed)
            for match in matching.values():
                total += left(depth + 1, unnamed | match)
            known[depth, alive] = total
        return known[depth, alive]

    return left(0, frozenset(range(len(excluded))))
