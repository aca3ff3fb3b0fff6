"""The columns of a manifest: inputs, aliases, ids, repeats, meta.

Owns the names a manifest may use. A record is taken apart by its layout, worked out once for
each set of names and kept, because rows come by the million. The model card checks
the values of inputs.
Source: docs/design/decisions.md "Manifest columns".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fluxbatch.errors import ConfigError, ManifestError
from fluxbatch.models import ModelCard, Problem, quoted, unknown_input

COLUMN_ALIASES: Mapping[str, str] = {
    "custom_id": "id",
    "text": "prompt",
    "caption": "prompt",
    "image": "control_image",
    "image_url": "control_image",
    "control_image_url": "control_image",
}
OTHERS = "*"
"""In `columns`: every column that means nothing."""
RESERVED_PREFIX = "_fb_"
MOST_REPEATS = 100_000
MOST_ID_CHARS = 1000
_MOST_PRIORITY = 2**31 - 1
_OF_THE_ROW = ("id", "repeat", "priority")
_META_COLUMNS = ("tags", "split")
_LAYOUTS_KEPT = 256


class RowParts(NamedTuple):
    """A record taken apart."""

    given: Mapping[str, object]
    """Inputs by API name, unchecked."""
    user_id: str | None
    repeat: int | None
    """None where the row does not speak of it."""
    priority: int
    meta: Mapping[str, object]
    problems: Sequence[Problem]
    is_broken: bool = False
    """The line has no cells at all, so nothing more can be said of it."""


def broken(reason: str) -> RowParts:
    """The parts of a line that is no record."""
    return RowParts({}, None, None, 0, _NO_META, (Problem("", reason),), is_broken=True)


@dataclass(slots=True)
class _Layout:
    """Where one set of names goes."""

    inputs: list[tuple[str, str]] = field(default_factory=list)
    """Column and input."""
    row: dict[str, list[str]] = field(default_factory=dict)
    """`id`, `repeat`, `priority` and the columns that give them."""
    meta: list[tuple[str, str]] = field(default_factory=list)
    nested: list[tuple[str, str]] = field(default_factory=list)
    """Columns that are `input` or `meta` as objects: their names differ from row to row."""
    problems: list[Problem] = field(default_factory=list)
    is_plain: bool = True
    """No two columns give one input, and nothing but inputs and an id is there."""
    is_input: bool = False
    """The record is the input as it stands."""


class Columns:
    """Takes records apart for one model."""

    def __init__(
        self,
        card: ModelCard,
        mapped: Mapping[str, str] | None = None,
        *,
        variables: bool = False,
    ) -> None:
        """*mapped* is the config's `columns`; raise `ConfigError` for a name that means nothing.

        With *variables* a column that means nothing, nor nearly, can be named by templates.
        """
        self._inputs = card.inputs
        self._variables = variables
        self._others = (mapped or {}).get(OTHERS)
        self._targets: dict[str, list[str]] = {}
        """By the manifest's name: what it is here."""
        for target, column in (mapped or {}).items():
            if target != OTHERS:
                self._targets.setdefault(column, []).append(self._checked_target(target))
        if self._others not in (None, "ignore", "meta"):
            raise ConfigError(f"columns.{OTHERS}: {self._others!r} is neither 'ignore' nor 'meta'")
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def check_header(self, names: Sequence[str]) -> None:
        """Raise `ManifestError` naming every column that means nothing."""
        if "" in names and self._others != "ignore":
            raise ManifestError(
                f"column {list(names).index('') + 1} of the manifest has no name; the first line"
                ' must name every column (or leave those out with `columns: {"*": ignore}`)'
            )
        layout = self._layout(tuple(names))
        if missing := [column for column in self._targets if column not in names]:
            raise ManifestError(
                f"columns.{self._targets[missing[0]][0]}: the manifest has no column"
                f" {missing[0]!r}; it has {', '.join(names)[:300]}"
            )
        if not layout.problems:
            return
        # One name alone may be a whole line, separated by another sign than commas.
        is_near = len(names) > 1 and any("did you mean" in why for _, why in layout.problems)
        if len(layout.problems) == len(names) and not is_near:
            raise ManifestError(_no_header(names, self._inputs))
        lines = "\n".join(f"  {name}: {reason}" for name, reason in layout.problems)
        raise ManifestError(f"the header of the manifest has columns that mean nothing:\n{lines}")

    def uses(self, column: str) -> bool:
        """Whether anything becomes of *column*."""
        layout = self._layout((column,))
        return bool(layout.inputs or layout.row or layout.meta or layout.nested)

    def may_ignore(self, column: str) -> bool:
        """Whether *column* is nothing the config asks for by name, and others are ignored.

        An alias alone is no such asking: a dataset's `image` may hold the images themselves.
        """
        is_named = column in self._targets or column in self._inputs
        return self._others == "ignore" and not is_named

    def is_input(self, column: str) -> bool:
        """Whether *column* gives a single value of the job, and not what is passed through."""
        layout = self._layout((column,))
        return bool(layout.inputs or layout.row)

    def read(self, cells: Mapping[str, object]) -> RowParts:
        """The parts of one record; what is wrong with them is in `problems`."""
        names = tuple(cells)
        layout = self._layouts.get(names) or self._layout(names)
        if not layout.is_plain:
            return self._read_slowly(cells, layout)
        if layout.is_input:
            return RowParts(cells, None, None, 0, _NO_META, ())
        given = {name: cells[column] for column, name in layout.inputs}
        if layout.row:
            user_id = cells[layout.row["id"][0]]
            if type(user_id) is int:
                user_id = str(user_id)
            if type(user_id) is not str or len(user_id) > MOST_ID_CHARS:
                return self._read_slowly(cells, layout)
            return RowParts(given, user_id or None, None, 0, _NO_META, ())
        return RowParts(given, None, None, 0, _NO_META, ())

    def _layout(self, names: tuple[str, ...]) -> _Layout:
        layout = _Layout()
        for column in names:
            for name in self._targets.get(column, (column,)):
                self._place(column, name, layout)
        targets = [target for _, target in layout.inputs]
        layout.is_plain = (
            not (layout.meta or layout.nested or layout.problems)
            and not any(self.may_ignore(column) for column, _ in layout.inputs)
            and len(set(targets)) == len(targets)
            and layout.row.keys() <= {"id"}
            and all(len(columns) == 1 for columns in layout.row.values())
        )
        layout.is_input = layout.is_plain and targets == list(names)
        if len(self._layouts) >= _LAYOUTS_KEPT:  # JSONL may name new columns on every line
            self._layouts.clear()
        self._layouts[names] = layout
        return layout

    def _place(self, column: str, name: str, layout: _Layout) -> None:
        """*name* is what *column* is called here."""
        target = self.input_of(name)
        if target is not None:
            layout.inputs.append((column, target))
        elif (target := COLUMN_ALIASES.get(name, name)) in _OF_THE_ROW:
            layout.row.setdefault(target, []).append(column)
        elif name.startswith("meta.") and len(name) > len("meta."):
            layout.meta.append((column, name.removeprefix("meta.")))
        elif name in _META_COLUMNS:
            layout.meta.append((column, name))
        elif name in {"input", "meta"}:
            layout.nested.append((column, name))
        elif name.startswith(RESERVED_PREFIX):
            layout.problems.append(
                Problem(column, f"names beginning with {RESERVED_PREFIX!r} are fluxbatch's own")
            )
        else:
            self._place_other(column, name, layout)

    def _place_other(self, column: str, name: str, layout: _Layout) -> None:
        problem = self.unknown(name)
        if self._others == "ignore":
            return
        if self._others == "meta" or (self._variables and "did you mean" not in problem.reason):
            layout.meta.append((column, name))
        else:
            layout.problems.append(problem)

    def _checked_target(self, name: str) -> str:
        """A name on the left of `columns`."""
        known = {*_OF_THE_ROW, *_META_COLUMNS, "input", "meta"}
        if name in known or self.input_of(name) or name.startswith("meta."):
            return name
        reason = self.unknown(name).reason
        if self._variables and name.isidentifier() and "did you mean" not in reason:
            return name
        raise ConfigError(f"columns.{name}: {reason} (on the right is the manifest's own name)")

    def input_of(self, column: str) -> str | None:
        """The input a column gives: by its own name first, then as `input.NAME`, then by alias."""
        for name in (column, column.removeprefix("input."), COLUMN_ALIASES.get(column)):
            if name in self._inputs:
                return name
        return None

    def unknown(self, name: str) -> Problem:
        """Why *name* is no column."""
        known = [*self._inputs, *_OF_THE_ROW, *_META_COLUMNS, *COLUMN_ALIASES]
        reason = unknown_input(name.removeprefix("input."), known).reason
        hint = "" if "did you mean" in reason else "; to pass it on to the results name it "
        if hint:
            return Problem(name, f"no such input{hint}{'meta.' + name[:40]!r}")
        return Problem(name, reason)

    def _read_slowly(self, cells: Mapping[str, object], layout: _Layout) -> RowParts:
        problems = list(layout.problems)
        given: dict[str, object] = {}
        for column, name in layout.inputs:
            if isinstance(cells[column], dict | list) and self.may_ignore(column):
                continue
            _put(given, name, cells[column], column, problems)
        meta: dict[str, object] = {}
        for column, name in layout.meta:
            _put(meta, name, _meta_value(column, cells[column], problems), column, problems)
        for column, name in layout.nested:
            self._read_nested(column, name == "meta", cells[column], given, meta, problems)
        row: dict[str, object] = {}
        for name, columns in layout.row.items():
            for column in columns:
                _put(row, name, cells[column], column, problems)
        return RowParts(
            given=given,
            user_id=_user_id(row.get("id"), problems),
            repeat=_whole("repeat", row.get("repeat"), 1, MOST_REPEATS, problems),
            priority=_whole(
                "priority", row.get("priority"), -_MOST_PRIORITY, _MOST_PRIORITY, problems
            )
            or 0,
            meta=meta,
            problems=problems,
        )

    def _read_nested(
        self,
        column: str,
        is_meta: bool,
        cell: object,
        given: dict[str, object],
        meta: dict[str, object],
        problems: list[Problem],
    ) -> None:
        if _is_empty(cell):
            return
        if not isinstance(cell, dict):
            hint = "meta.NAME" if is_meta else "input.NAME"
            problems.append(
                Problem(column, f"{quoted(cell)} is not an object; a single value is {hint!r}")
            )
            return
        for name, value in cell.items():
            inner = f"{column}.{name}"
            if is_meta:
                _put(meta, name, _meta_value(inner, value, problems), inner, problems)
            elif name in self._inputs:
                _put(given, name, value, inner, problems)
            else:
                problems.append(Problem(inner, unknown_input(name, self._inputs).reason))


_NO_META: Mapping[str, object] = {}


def _is_empty(value: object) -> bool:
    return value is None or value == ""


def _put(
    into: dict[str, object], name: str, value: object, column: str, problems: list[Problem]
) -> None:
    """Set *name*, unless another column gave it another value. Empty is not given."""
    if _is_empty(value):
        return
    if name not in into:
        into[name] = value
    elif into[name] != value or type(into[name]) is not type(value):
        problems.append(
            Problem(
                column,
                f"{quoted(value)} here, but {quoted(into[name])} in another column for "
                f"{name!r}; keep one of the two",
            )
        )


def _meta_value(column: str, value: object, problems: list[Problem]) -> object:
    """*value*, once it is sure that it can be written as JSON again."""
    finite = True
    if isinstance(value, float):
        finite = math.isfinite(value)
    elif isinstance(value, dict | list):
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            finite = False
    if not finite:
        problems.append(Problem(column, f"{quoted(value)} holds a number that is not finite"))
        return None
    return value


def _user_id(value: object, problems: list[Problem]) -> str | None:
    if _is_empty(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        problems.append(Problem("id", f"{quoted(value)} is not text or an integer"))
        return None
    text = str(value)
    if len(text) > MOST_ID_CHARS:
        problems.append(Problem("id", f"{quoted(text)} has more than {MOST_ID_CHARS} characters"))
        return None
    return text


def _whole(name: str, value: object, least: int, most: int, problems: list[Problem]) -> int | None:
    if _is_empty(value):
        return None
    number: int | None = None
    if isinstance(value, str):
        try:
            number = int(value) if "_" not in value and len(value) < 20 else None
        except ValueError:
            number = None
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        number = int(value)
    if number is None or not least <= number <= most:
        problems.append(Problem(name, f"{quoted(value)} is not an integer from {least} to {most}"))
        return None
    return number


def _no_header(names: Sequence[str], inputs: Mapping[str, object]) -> str:
    shown = ", ".join(repr(name[:30]) for name in names[:5])
    if len(names) == 1:
        for mark, what in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in names[0]:
                return f"the columns of the manifest are separated by {what}; save it with commas"
    return (
        f"the manifest has no header: its first line gives {shown}, and none of these is a column "
        f"(the inputs are {', '.join(inputs)})"
    )
