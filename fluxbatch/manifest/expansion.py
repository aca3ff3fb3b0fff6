"""The expansion of one record: the cells of the sweep, and in each the prompts of its templates.

Owns what templates can name (the row's columns, the defaults, the cell's values), the order of the
two grammars (Jinja first; what it puts out is no grammar), and the count of it all without making
it. A draw is decided by the seed and the row's own content, not by its place or its cell: rows
added above change nothing, and all cells of a row compare the same prompts.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fluxbatch.config.sweep import Grammar, Templates
from fluxbatch.domain.job import Input
from fluxbatch.errors import ConfigError
from fluxbatch.manifest.columns import RowParts
from fluxbatch.manifest.control_images.resolve import anchored
from fluxbatch.manifest.sweep.axes import Cell
from fluxbatch.manifest.sweep.cells import Cells
from fluxbatch.manifest.templates.dynamic_nodes import Literal, Node
from fluxbatch.manifest.templates.dynamic_parser import parse
from fluxbatch.manifest.templates.errors import BadTemplate
from fluxbatch.manifest.templates.output import OutputBuffer, SeededDraw, unguarded
from fluxbatch.manifest.templates.wildcards import Wildcards
from fluxbatch.models import ModelCard, Problem, unknown_input

if TYPE_CHECKING:
    from fluxbatch.manifest.templates.jinja import Renderer

MOST_COUNTED = 100_000
"""Cells of one row that are looked at one by one for their count."""
_KEPT = 512
_TRIES = 20
_NO_CELL: Cell = {}


class Counted(NamedTuple):
    """A number of jobs that nobody has made."""

    number: int
    is_exact: bool


class Made(NamedTuple):
    """A record in one cell, with one prompt."""

    cell: Cell
    inputs: Input
    """What goes over the row's own inputs and the defaults."""
    problems: Sequence[Problem] = ()


class _Template(NamedTuple):
    """One input's text in one cell, as a template."""

    name: str
    node: Node
    names: Mapping[str, str]
    is_of_config: bool


class Expansion:
    """Takes records through the cells and the templates."""

    def __init__(
        self,
        card: ModelCard,
        defaults: Input,
        cells: Cells | None,
        templates: Templates | None,
        folder: Path,
    ) -> None:
        """*folder*: where relative files of the config begin. Raises `ConfigError`."""
        self._card = card
        self._defaults = defaults
        self._cells = cells
        self._folder = folder
        self._settings = templates or Templates()
        self._grammars = {} if templates is None else _grammars(templates, card)
        names = frozenset() if cells is None else cells.names
        self.varied = names & card.inputs.keys()
        """The inputs that are axes."""
        self._is_plain = names == self.varied and names.isdisjoint(card.file_inputs)
        place = self._settings.wildcards
        self.wildcards = Wildcards(folder / place if place is not None else None)
        self._nodes: OrderedDict[tuple[str, frozenset[str]], tuple[Node, frozenset[str]]] = (
            OrderedDict()
        )
        self._asked: set[str] = set()
        self._has_bad = False

    def over(self, parts: RowParts) -> Iterator[Made]:
        """Every cell and every prompt of it, in an order that is always the same."""
        for cell in self._cells or (_NO_CELL,):
            given = self._inputs(cell)
            if not self._grammars:
                yield Made(cell, given)
                continue
            if parts.problems:  # it becomes no job anyhow, and says so once
                yield Made(cell, given)
                return
            try:
                templates = self._templates(parts, cell)
            except _Unfit as exc:
                yield Made(cell, given, exc.problems)
                continue
            for texts in self._texts(templates, parts, cell):
                if isinstance(texts, Problem):
                    yield Made(cell, given, (texts,))
                else:
                    yield Made(cell, {**given, **texts})

    def count(self, parts: RowParts) -> Counted:
        """How many `over` would give; where that depends on too many cells, about."""
        if self._cells is None:
            return Counted(self._count_in(parts, _NO_CELL), is_exact=True)
        if not self._grammars:
            return Counted(self._cells.count(), is_exact=True)
        groups = self._cells.by(self._deciding(parts), MOST_COUNTED)
        if groups is not None:
            number = sum(count * self._count_in(parts, cell) for cell, count in groups)
            return Counted(number, is_exact=True)
        first = next(iter(self._cells))
        return Counted(self._cells.count() * self._count_in(parts, first), is_exact=False)

    def unused(self) -> list[str]:
        """Axes that no template has named so far, though only templates could.

        None where a template is bad: what it names nobody knows.
        """
        if self._has_bad:
            return []
        variables = frozenset() if self._cells is None else self._cells.variables
        return sorted(variables - self._asked)

    def _inputs(self, cell: Cell) -> Input:
        """The cell's inputs; its files are the config's, not the manifest's."""
        if self._is_plain:
            return cell
        files = self._card.file_inputs
        return {
            name: anchored(str(value), self._folder) if name in files else value
            for name, value in cell.items()
            if name in self._card.inputs
        }

    def _templates(self, parts: RowParts, cell: Cell) -> list[_Template]:
        found: list[_Template] = []
        problems: list[Problem] = []
        values: Mapping[str, object] | None = None
        for name, grammar in self._grammars.items():
            text, is_of_config = self._source(name, parts, cell)
            if not isinstance(text, str) or not text:
                continue
            if values is None:
                values = self._names(parts, cell)
            try:
                found.append(self._template(name, text, grammar, values, is_of_config))
            except BadTemplate as exc:
                problems.append(_problem(name, exc))
        if problems:
            raise _Unfit(problems)
        return found

    def _source(self, name: str, parts: RowParts, cell: Cell) -> tuple[object, bool]:
        """The text of an input before it is expanded, and whether the config gave it."""
        if name in cell:
            return cell[name], True
        own = parts.given.get(name)
        if own is not None and own != "":
            return own, False
        return self._defaults.get(name), True

    def _names(self, parts: RowParts, cell: Cell) -> Mapping[str, object]:
        own = {name: value for name, value in parts.given.items() if value not in (None, "")}
        names = {**parts.meta, "meta": parts.meta, **self._defaults, **own, **cell}
        if parts.user_id is not None:
            names["id"] = parts.user_id
        return names

    def _template(
        self,
        name: str,
        text: str,
        grammar: Grammar,
        values: Mapping[str, object],
        is_of_config: bool,
    ) -> _Template:
        if grammar != "dynamic" and _is_jinja(text):
            try:
                has_choices = grammar == "both"
                text, asked = self._renderer.render(text, values, has_choices=has_choices)
            except BadTemplate:
                self._has_bad = True
                raise
            self._asked |= asked
        if grammar == "jinja":
            return _Template(name, Literal(text), {}, is_of_config)
        names = {key: str(value) for key, value in values.items() if _is_plain(value)}
        return _Template(name, self._parsed(text, frozenset(names)), names, is_of_config)

    @cached_property
    def _renderer(self) -> Renderer:
        from fluxbatch.manifest.templates.jinja import Renderer  # Jinja, where it is needed

        return Renderer()

    def _parsed(self, text: str, known: frozenset[str]) -> Node:
        key = (text, known)
        if key in self._nodes:
            self._nodes.move_to_end(key)
        else:
            try:
                self._nodes[key] = parse(text, known, self.wildcards.reader(known))
            except RecursionError:
                raise BadTemplate("nests too deep") from None
            if len(self._nodes) > _KEPT:
                self._nodes.popitem(last=False)
        node, used = self._nodes[key]
        self._asked |= used
        return node

    def _texts(
        self, templates: list[_Template], parts: RowParts, cell: Cell
    ) -> Iterator[dict[str, str] | Problem]:
        total = _total(templates)
        sample = self._settings.sample
        if sample is None or total <= sample:
            for number in range(total):
                yield self._numbered(templates, number)
        else:
            yield from self._drawn(templates, self._material(parts, cell), sample, total)

    def _drawn(
        self, templates: list[_Template], material: bytes, sample: int, total: int
    ) -> Iterator[dict[str, str] | Problem]:
        """*sample* of them: drawn by weight, each once while that is to be had."""
        seen: set[tuple[str, ...]] = set()
        spare: list[dict[str, str]] = []
        numbers = range(min(total, _TRIES * sample))
        tries = (self._draw_one(templates, material, turn) for turn in numbers)
        others = (self._numbered(templates, number) for number in numbers)
        left = sample
        for texts in (one for source in (tries, others) for one in source):
            if isinstance(texts, Problem):
                yield texts
                left -= 1
            elif (key := tuple(texts.values())) not in seen:
                seen.add(key)
                yield texts
                left -= 1
            elif len(spare) < sample:
                spare.append(texts)
            if not left:
                return
        yield from islice(spare, left)  # equal rows, which are one job

    def _draw_one(
        self, templates: list[_Template], material: bytes, turn: int
    ) -> dict[str, str] | Problem:
        draw = SeededDraw(turn.to_bytes(8, "big") + material)
        return self._written(templates, lambda one, into: one.node.draw(draw, into))

    def _numbered(self, templates: list[_Template], number: int) -> dict[str, str] | Problem:
        numbers: dict[str, int] = {}
        for one in reversed(templates):
            number, numbers[one.name] = divmod(number, one.node.count)
        return self._written(templates, lambda one, into: one.node.write(numbers[one.name], into))

    def _written(
        self, templates: list[_Template], write: Callable[[_Template, OutputBuffer], None]
    ) -> dict[str, str] | Problem:
        texts: dict[str, str] = {}
        for one in templates:
            into = OutputBuffer(one.names)
            try:
                write(one, into)
            except BadTemplate as exc:
                return _problem(one.name, exc)
            except RecursionError:
                return _problem(one.name, BadTemplate("nests too deep"))
            text = unguarded(str(into))
            if one.is_of_config and one.name in self._card.file_inputs:
                text = anchored(text, self._folder)
            texts[one.name] = text
        return texts

    def _material(self, parts: RowParts, cell: Cell) -> bytes:
        """What a draw is decided by beside its seed: the row, and the picture of its cell."""
        files = {name: value for name, value in cell.items() if name in self._card.file_inputs}
        given = {name: value for name, value in parts.given.items() if value not in (None, "")}
        asked = [self._settings.seed, parts.user_id, given, files]
        return json.dumps(asked, sort_keys=True, default=str).encode(errors="surrogatepass")

    def _count_in(self, parts: RowParts, cell: Cell) -> int:
        if not self._grammars:
            return 1
        try:
            total = _total(self._templates(parts, cell))
        except _Unfit:
            return 1
        return total if self._settings.sample is None else min(total, self._settings.sample)

    def _deciding(self, parts: RowParts) -> set[str]:
        """The axes on which the number of prompts may depend."""
        assert self._cells is not None
        deciding: set[str] = set()
        for name in self._grammars:
            if name in self._cells.names:
                return {name, *self._cells.variables, *self.varied & self._grammars.keys()}
            text, _ = self._source(name, parts, _NO_CELL)
            if isinstance(text, str) and _may_vary(text):
                deciding |= {axis for axis in self._cells.names if axis in text}
        return deciding


class _Unfit(Exception):
    """Templates of one cell that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = problems


def _grammars(templates: Templates, card: ModelCard) -> dict[str, Grammar]:
    for name in templates.inputs:
        if name not in card.inputs:
            reason = unknown_input(name, card.inputs).reason
            raise ConfigError(f"templates.inputs.{name}: {reason}")
    if templates.inputs:
        return dict(templates.inputs)
    return {
        name: "both"
        for name, field in card.inputs.items()
        if field.kind == "string" and not field.choices and name not in card.file_inputs
    }


def _problem(name: str, exc: BadTemplate) -> Problem:
    return Problem(name, f"its template is no good: {exc}")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _total(templates: list[_Template]) -> int:
    return prod(one.node.count for one in templates)


def _is_jinja(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _may_vary(text: str) -> bool:
    """Whether what Jinja puts out may decide how many prompts there are."""
    return "{%" in text or ("{{" in text and (" if " in text or "__" in text))
