"""One axis of a sweep: its values, and which of them a partial cell names.

Owns the pinned shape of an axis in the config (issue 5). An axis of numbers is a `range`, so a
billion values cost nothing. Axes may also go side by side (zip), or be the cells of another sweep.

`range: [a, b]` is every integer from a to b, both included, with an optional `step`. `count: n` is
0 to n-1, so that raising n adds cells and keeps the old. A text is a glob of files, sorted.
"""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from fluxbatch.domain.job import Json
from fluxbatch.errors import ConfigError
from fluxbatch.manifest.control_images.resolve import LEDGER
from fluxbatch.models import BadInput, ModelCard, unknown_input
from fluxbatch.models.card import MOST_SAFE

Values = Sequence[Json]
Cell = dict[str, Json]


class Axis(Protocol):
    """Some names, and the values they take together, by position."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def put(self, at: int, into: Cell) -> None:
        """Set the names to their values at that position."""
        ...

    def places(self, partial: Mapping[str, Json]) -> Iterable[int]:
        """The positions whose values agree with *partial*, which has at least one of the names."""
        ...


class AxisGroup:
    """One name and its values."""

    def __init__(self, name: str, values: Values) -> None:
        self.names = (name,)
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def put(self, at: int, into: Cell) -> None:
        into[self.names[0]] = self.values[at]

    def places(self, partial: Mapping[str, Json]) -> Iterable[int]:
        return (self.place(partial[self.names[0]]),)

    def place(self, value: Json) -> int:
        """Where *value* stands; it is one of the values, and no list or object."""
        assert not isinstance(value, list | dict)
        if isinstance(self.values, range):
            return self.values.index(int(value))
        return self._places[value]

    @cached_property
    def _places(self) -> dict[object, int]:
        plain = enumerate(self.values)
        return {value: at for at, value in plain if not isinstance(value, list | dict)}


class ZipAxis:
    """Axes of one length, gone through together."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._axes = axes
        self.names = tuple(name for axis in axes for name in axis.names)

    def __len__(self) -> int:
        return len(self._axes[0])

    def put(self, at: int, into: Cell) -> None:
        for axis in self._axes:
            axis.put(at, into)

    def places(self, partial: Mapping[str, Json]) -> Iterable[int]:
        found = [
            set(axis.places(partial)) for axis in self._axes if partial.keys() & set(axis.names)
        ]
        return set.intersection(*found)


class ListAxis:
    """The cells of a sweep within, written down."""

    def __init__(self, names: Iterable[str], cells: Sequence[Cell]) -> None:
        self.names = tuple(names)
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def put(self, at: int, into: Cell) -> None:
        into.update(self._cells[at])

    def places(self, partial: Mapping[str, Json]) -> Iterable[int]:
        asked = {name: value for name, value in partial.items() if name in self.names}
        return (at for at, cell in enumerate(self._cells) if asked.items() <= cell.items())


class AxisReader:
    """Reads axes as the config has them, for one model and the files of one folder."""

    def __init__(self, card: ModelCard, folder: Path, *, variables: bool) -> None:
        """With *variables* a name that is no input is a variable of the templates."""
        self._card = card
        self._folder = folder
        self._variables = variables
        self._datasets: dict[Path, bool] = {}
        self.files: list[Path] = []
        """What the globs found."""

    def read(self, name: str, spec: object) -> AxisGroup:
        """Raise `ConfigError` for what cannot be meant."""
        if name not in self._card.inputs:
            self._require_variable(name)
        match spec:
            case str():
                return AxisGroup(name, self._globbed(name, spec))
            case list():
                values: Values = [self.checked(name, value) for value in spec]
                seen: set[tuple[type, object]] = set()
                for value in values:
                    plain = json.dumps(value) if isinstance(value, list | dict) else value
                    if (type(value), plain) in seen:
                        raise ConfigError(f"sweep.axes.{name}: names {value!r} twice")
                    seen.add((type(value), plain))
            case {"range": [first, last], **rest} if rest.keys() <= {"step"}:
                values = self._integers(name, first, last, rest.get("step", 1))
            case {"count": count, **rest} if not rest:
                if type(count) is not int or count < 1:
                    raise ConfigError(f"sweep.axes.{name}.count: {count!r} is not at least 1")
                values = self._integers(name, 0, count - 1, 1)
            case _:
                raise ConfigError(
                    f"sweep.axes.{name}: {spec!r} is none of [value, ...], {{range: [a, b]}}, "
                    '{count: n} and "glob/*.png"'
                )
        if not values:
            raise ConfigError(f"sweep.axes.{name}: has no values")
        return AxisGroup(name, values)

    def checked(self, name: str, value: object, where: str = "sweep.axes") -> Json:
        """*value* as the input's type has it, or as it is for a variable."""
        if name not in self._card.inputs:
            if _is_scalar(value):
                return value  # type: ignore[return-value]  # just looked at
            raise ConfigError(f"{where}.{name}: {value!r} is not a text, a number or true or false")
        try:
            return self._card.check_value(name, value)
        except BadInput as exc:
            raise ConfigError(f"{where}.{exc}") from None

    def _require_variable(self, name: str) -> None:
        reason = unknown_input(name, self._card.inputs).reason
        if not self._variables or "did you mean" in reason:
            raise ConfigError(f"sweep.axes.{name}: {reason}")
        if not name.isidentifier():
            raise ConfigError(
                f"sweep.axes.{name}: {reason}, and a variable is named like 'style' or 'art_style'"
            )

    def _integers(self, name: str, first: object, last: object, step: object) -> range:
        field = self._card.inputs.get(name)
        if field is not None and field.kind not in {"integer", "number"}:
            raise ConfigError(f"sweep.axes.{name}: takes no numbers; write its values as a list")
        if not (type(first) is int and type(last) is int and type(step) is int):
            raise ConfigError(f"sweep.axes.{name}: a range has integers; write fractions as a list")
        if step < 1 or last < first:
            raise ConfigError(f"sweep.axes.{name}: range [{first}, {last}] by {step} has no values")
        for end in (first, last):
            self.checked(name, end)
            if abs(end) > MOST_SAFE:
                raise ConfigError(f"sweep.axes.{name}: {end} is beyond {MOST_SAFE}")
        return range(first, last + 1, step)

    def _globbed(self, name: str, pattern: str) -> Values:
        if name not in self._card.file_inputs:
            raise ConfigError(
                f"sweep.axes.{name}: {pattern!r} is a single text; write [{pattern!r}] "
                "(a glob of files fits file inputs alone)"
            )
        where = str(Path(pattern).expanduser())
        found = sorted(glob.glob(where, root_dir=self._folder, recursive=True))
        files = [path for path in found if (self._folder / path).is_file()]
        if "**" in pattern:
            files = [path for path in files if not self._is_made(self._folder / path)]
        if not files:
            raise ConfigError(
                f"sweep.axes.{name}: no file matches {pattern!r} in {str(self._folder)!r}"
            )
        self.files += [self._folder / path for path in files]
        return files

    def _is_made(self, path: Path) -> bool:
        """Whether it lies in a dataset below: what was made is not to be made again from."""
        if path.parent not in self._datasets:
            is_below = path.parent.is_relative_to(self._folder) and path.parent != self._folder
            self._datasets[path.parent] = is_below and (
                (path.parent / LEDGER).exists() or self._is_made(path.parent)
            )
        return self._datasets[path.parent]


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and value != ""
