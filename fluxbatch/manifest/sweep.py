"""Sweeps: axes to vary, as numbered cells that nobody has to write down.

Owns the pinned shape of a sweep in the config (issue 5). A cell is worked out from its number by
arithmetic, so a billion of them cost nothing until they are asked for. Which jobs a cell makes is
the manifest's to say.

`range: [a, b]` is every integer from a to b, both included, with an optional `step`. `count: n` is
0 to n-1, so that raising n adds cells and keeps the old. A text is a glob of files, sorted.
`sample` draws without replacement; a larger N with the same seed keeps what a smaller one drew.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import isqrt, prod
from pathlib import Path

from fluxbatch.config import Sweep
from fluxbatch.errors import ConfigError
from fluxbatch.job import Json
from fluxbatch.models import BadInput, ModelCard, unknown_input

Axis = Sequence[Json]
Cell = dict[str, Json]

_ROUNDS = 6
_WORD = 2**64 - 1


class Cells:
    """The cells of one sweep, in a fixed order: the last axis moves first."""

    def __init__(self, sweep: Sweep, *, card: ModelCard, folder: Path) -> None:
        """Raise `ConfigError` for an axis or an exclude that cannot be meant."""
        self._mode = sweep.mode
        self._sample = sweep.sample
        self._seed = sweep.seed
        self.files: list[Path] = []
        """What the globs found."""
        self._axes: dict[str, Axis] = {
            name: self._axis(name, values, card, folder) for name, values in sweep.axes.items()
        }
        if self._mode == "zip":
            _require_equal_lengths(self._axes)
        self._excluded = [_excluded(cell, self._axes, card) for cell in sweep.exclude]
        if not self.count():
            raise ConfigError("sweep: every cell is excluded; nothing is left to make")
        if self._sample is not None and self._sample > self._available:
            raise ConfigError(
                f"sweep: sample: {self._sample}, but the axes give only {self._available} cells"
            )

    @property
    def names(self) -> frozenset[str]:
        """The inputs it varies."""
        return frozenset(self._axes)

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

    @cached_property
    def _total(self) -> int:
        """Cells before any is excluded."""
        sizes = [len(values) for values in self._axes.values()]
        return sizes[0] if self._mode == "zip" else prod(sizes)

    @cached_property
    def _available(self) -> int:
        """Cells after the excluded are gone."""
        if not self._excluded:
            return self._total
        if self._mode == "zip":
            cells = map(self._cell, range(self._total))
            return sum(
                not any(excluded.items() <= cell.items() for excluded in self._excluded)
                for cell in cells
            )
        return _count_left(list(self._axes.items()), self._excluded)

    def _order(self) -> Iterator[int]:
        if self._mode == "sample":
            return shuffled(self._total, self._seed)
        return iter(range(self._total))

    def _cell(self, index: int) -> Cell:
        if self._mode == "zip":
            return {name: values[index] for name, values in self._axes.items()}
        chosen: list[Json] = []
        for values in reversed(self._axes.values()):
            index, at = divmod(index, len(values))
            chosen.append(values[at])
        return dict(zip(self._axes, reversed(chosen), strict=True))

    def _axis(self, name: str, spec: object, card: ModelCard, folder: Path) -> Axis:
        if name not in card.inputs:
            raise ConfigError(f"sweep.axes.{name}: {unknown_input(name, card.inputs).reason}")
        match spec:
            case str():
                return self._globbed(name, spec, card, folder)
            case list():
                values: Axis = [_checked(card, name, value) for value in spec]
                if twice := [value for value in values if values.count(value) > 1]:
                    raise ConfigError(f"sweep.axes.{name}: names {twice[0]!r} twice")
            case {"range": [first, last], **rest} if rest.keys() <= {"step"}:
                values = _integers(name, first, last, rest.get("step", 1), card)
            case {"count": count, **rest} if not rest:
                if type(count) is not int or count < 1:
                    raise ConfigError(f"sweep.axes.{name}.count: {count!r} is not at least 1")
                values = _integers(name, 0, count - 1, 1, card)
            case _:
                raise ConfigError(
                    f"sweep.axes.{name}: {spec!r} is none of [value, ...], {{range: [a, b]}}, "
                    '{count: n} and "glob/*.png"'
                )
        if not values:
            raise ConfigError(f"sweep.axes.{name}: has no values")
        return values

    def _globbed(self, name: str, pattern: str, card: ModelCard, folder: Path) -> Axis:
        if name not in card.file_inputs:
            raise ConfigError(
                f"sweep.axes.{name}: {pattern!r} is a single text; write [{pattern!r}] "
                "(a glob of files fits file inputs alone)"
            )
        where = str(Path(pattern).expanduser())
        found = sorted(glob.glob(where, root_dir=folder, recursive=True))
        files = [path for path in found if (folder / path).is_file()]
        if not files:
            raise ConfigError(f"sweep.axes.{name}: no file matches {pattern!r} in {str(folder)!r}")
        self.files += [folder / path for path in files]
        return [path.replace("\\", "/") for path in files] if "\\" not in pattern else files


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


def _checked(card: ModelCard, name: str, value: object) -> Json:
    try:
        return card.check_value(name, value)
    except BadInput as exc:
        raise ConfigError(f"sweep.axes.{exc}") from None


def _integers(name: str, first: object, last: object, step: object, card: ModelCard) -> range:
    ends = (first, last, step)
    if card.inputs[name].kind not in {"integer", "number"}:
        raise ConfigError(f"sweep.axes.{name}: takes no numbers; write its values as a list")
    if not all(type(end) is int for end in ends):
        raise ConfigError(f"sweep.axes.{name}: a range has integers; write fractions as a list")
    assert isinstance(first, int)
    assert isinstance(last, int)
    assert isinstance(step, int)
    if step < 1 or last < first:
        raise ConfigError(f"sweep.axes.{name}: range [{first}, {last}] by {step} has no values")
    for end in (first, last):
        _checked(card, name, end)
    return range(first, last + 1, step)


def _require_equal_lengths(axes: Mapping[str, Axis]) -> None:
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigError(f"sweep: zip needs axes of one length, but {shown}")


def _excluded(given: Mapping[str, object], axes: Mapping[str, Axis], card: ModelCard) -> Cell:
    """A partial cell; one that no cell can match is a typing error, not a wish."""
    cell: Cell = {}
    for name, value in given.items():
        if name not in axes:
            raise ConfigError(f"sweep.exclude.{name}: {unknown_input(name, axes).reason}")
        try:
            cell[name] = card.check_value(name, value)
        except BadInput as exc:
            raise ConfigError(f"sweep.exclude.{exc}") from None
        if isinstance(cell[name], list | dict):
            raise ConfigError(
                f"sweep.exclude.{name}: a list or an object cannot be excluded; write the axis"
                " without it"
            )
        if cell[name] not in axes[name]:
            raise ConfigError(f"sweep.exclude.{name}: {value!r} is not a value of this axis")
    if not cell:
        raise ConfigError("sweep.exclude: an empty cell would leave nothing to make")
    return cell


def _count_left(axes: list[tuple[str, Axis]], excluded: list[Cell]) -> int:
    """Cells of the product that no partial cell covers.

    Axis by axis, only the values that some partial cell names are told apart; what is left of an
    axis counts as one case. Equal cases are counted once.
    """
    known: dict[tuple[int, frozenset[int]], int] = {}

    def left(depth: int, alive: frozenset[int]) -> int:
        """Cells from this axis on, where *alive* are the partial cells that match so far."""
        if not alive:
            return prod(len(values) for _, values in axes[depth:])
        rest = {name for name, _ in axes[depth:]}
        if any(not (excluded[i].keys() & rest) for i in alive):
            return 0
        if (depth, alive) not in known:
            name, values = axes[depth]
            named = {excluded[i][name] for i in alive if name in excluded[i]}
            unnamed = frozenset(i for i in alive if name not in excluded[i])
            total = (len(values) - len(named)) * left(depth + 1, unnamed)
            for value in named:
                matching = frozenset(i for i in alive if excluded[i].get(name, value) == value)
                total += left(depth + 1, matching)
            known[depth, alive] = total
        return known[depth, alive]

    return left(0, frozenset(range(len(excluded))))
