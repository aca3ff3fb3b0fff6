r"""The grammar of diffusion tools: `{a|b}`, `{2$$ and $$a|b}`, `{0.3::a|b}`, `__file__`, `${x=…}`.

Owns how a template is written; source: the dynamicprompts library, of which this is a subset with
counts and places. Text is kept as it is, spaces included. A backslash before one of ``{}|$_\``
takes its meaning away. What is bound by `=` is expanded anew wherever it is used, by `=!` once.

Not here, and so plain text: comments, `__file(x=1)__`, wrapping, samplers other than `{…}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from fluxbatch.manifest.templates.dynamic_nodes import (
    Literal,
    Node,
    NodeSequence,
    VariableAccess,
    VariableAssignment,
    Variants,
)
from fluxbatch.manifest.templates.errors import MOST_CHARS, BadTemplate, at, unknown_name

MOST_NESTED = 50
_WEIGHT_STEPS = 1_000_000
"""A weight counts in millionths."""
_MOST_WEIGHT = 1_000_000

_plain = re.compile(r"[^{}|\\$_]+").match
_bounds = re.compile(r"\s*(?:(\d{1,4})-(\d{1,4})|(\d{1,4})-|-(\d{1,4})|(\d{1,4}))\$\$").match
_separator = re.compile(r"([^${}|]*)\$\$").match
_weight = re.compile(r"\s*(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})::").match
_wildcard = re.compile(r"__((?:[^\W_]|\*)(?:[\w*./-]{0,98}?(?:[^\W_]|\*))?)__").match
_variable = re.compile(r"\$\{\s*([^\W\d]\w*)\s*(=!|=|:|\})").match

is_template = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}|\{[^{}]*\|[^{}]*\}|\$\{\s*\w+\s*[=:}]|__[^\W_][\w*./-]*?__",
    re.DOTALL,
).search
"""Whether a text looks as if it was meant as one, of either kind."""

_Bound = Mapping[str, Node | None]
"""What was assigned before: a template, or None for a text chosen once."""

Wildcard = Callable[[str], Variants]
"""The lines of a file by its name; raises `BadTemplate`."""


def parse(text: str, known: frozenset[str], wildcard: Wildcard) -> tuple[Node, frozenset[str]]:
    """The template and which of the *known* names it uses; raise `BadTemplate` with the place."""
    if len(text) > MOST_CHARS:
        raise BadTemplate(f"is longer than {MOST_CHARS:,} characters")
    parser = _Parser(text, known, wildcard)
    return parser.parse(), frozenset(parser.used)


def weight_of(text: str) -> tuple[int | None, str]:
    """The weight a line of a wildcard file begins with, and the rest of it."""
    found = _weight(text)
    return (None, text) if found is None else (_as_weight(found[1]), text[found.end() :])


def _as_weight(digits: str) -> int:
    weight = Decimal(digits)
    if weight > _MOST_WEIGHT:
        raise BadTemplate(f"the weight {digits} is above {_MOST_WEIGHT:,}")
    return int(weight * _WEIGHT_STEPS)


class _Parser:
    """Reads one template, once, from left to right."""

    def __init__(self, text: str, known: frozenset[str], wildcard: Wildcard) -> None:
        self._text = text
        self._known = known
        self._wildcard = wildcard
        self._at = 0
        self._depth = 0
        self.used: set[str] = set()

    def parse(self) -> Node:
        return self._together("", {})

    def _together(self, ends: str, bound: _Bound) -> Node:
        """Up to one of *ends*, which is left unread, or the end of the text."""
        parts: list[Node] = []
        plain: list[str] = []
        while self._at < len(self._text) and (sign := self._text[self._at]) not in ends:
            found = _variable(self._text, self._at)
            if found and found[2] == "=":
                bound = {**bound, found[1]: self._value(found.end(), bound)}
                continue
            if found or sign == "{" or _wildcard(self._text, self._at):
                _flush(plain, parts)
            if found and found[2] == "=!":
                parts.append(self._let(found, ends, bound))
                break
            if found:
                parts.append(self._use(found, bound))
            elif sign == "{":
                parts.append(self._choice(bound))
            elif found := _wildcard(self._text, self._at):
                parts.append(self._file(found[1], found.end()))
            else:
                plain.append(self._literal())
        _flush(plain, parts)
        return parts[0] if len(parts) == 1 else NodeSequence(parts)

    def _literal(self) -> str:
        """At least one character, whatever it is."""
        if found := _plain(self._text, self._at):
            self._at = found.end()
            return found[0]
        sign = self._text[self._at]
        if sign == "\\" and self._text[self._at + 1 : self._at + 2] in set("{}|$_\\"):
            self._at += 1
            sign = self._text[self._at]
        self._at += 1
        return sign

    def _deeper(self, ends: str, bound: _Bound, opened: int) -> Node:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise BadTemplate(f"nests deeper than {MOST_NESTED} levels {at(opened, self._text)}")
        node = self._together(ends, bound)
        self._depth -= 1
        return node

    def _inner(self, ends: str, bound: _Bound, opened: int) -> Node:
        """What a brace encloses, up to one of *ends*, which has to come."""
        node = self._deeper(ends, bound, opened)
        if self._at >= len(self._text):
            raise BadTemplate(f"a brace is opened and never closed {at(opened, self._text)}")
        return node

    def _value(self, begins: int, bound: _Bound) -> Node:
        """What stands between *begins* and the brace that closes."""
        opened, self._at = self._at, begins
        node = self._inner("}", bound, opened)
        self._at += 1
        return node

    def _let(self, found: re.Match[str], ends: str, bound: _Bound) -> Node:
        value = self._value(found.end(), bound)
        return VariableAssignment(
            found[1], value, self._deeper(ends, {**bound, found[1]: None}, found.start())
        )

    def _use(self, found: re.Match[str], bound: _Bound) -> Node:
        name, opened = found[1], self._at
        default = self._value(found.end(), bound) if found[2] == ":" else None
        self._at = found.end() if default is None else self._at
        if name in bound:
            value = bound[name]
            return VariableAccess(name) if value is None else value
        if name in self._known:
            self.used.add(name)
            return VariableAccess(name)
        if default is None:
            names = {*self._known, *bound}
            raise BadTemplate(f"{unknown_name(name, names)} {at(opened, self._text)}")
        return default

    def _choice(self, bound: _Bound) -> Node:
        opened = self._at
        self._at += 1
        least, most, separator = 1, 1, ","
        if found := _bounds(self._text, self._at):
            least, most = _range(found)
            self._at = found.end()
            if found := _separator(self._text, self._at):
                separator = found[1]
                self._at = found.end()
        begins = self._at
        options = self._options(opened, bound)
        if self._at - 1 == begins:
            raise BadTemplate(f"there is nothing between the braces {at(opened, self._text)}")
        if not options:
            raise BadTemplate(f"every option has the weight 0 {at(opened, self._text)}")
        if len(options) == 1 and isinstance(only := options[0][1], Variants) and most > 1:
            options = only.options  # {2$$__file__} picks two of its lines
        try:
            return Variants(options, least, most, separator)
        except BadTemplate as exc:
            raise BadTemplate(f"{exc} {at(opened, self._text)}") from None

    def _options(self, opened: int, bound: _Bound) -> list[tuple[int, Node]]:
        options: list[tuple[int, Node]] = []
        while True:
            weight = _as_weight("1")
            if found := _weight(self._text, self._at):
                weight = _as_weight(found[1])
                self._at = found.end()
            option = self._inner("|}", bound, opened)
            if weight:  # what is never drawn is no option, and not counted either
                options.append((weight, option))
            self._at += 1
            if self._text[self._at - 1] == "}":
                return options

    def _file(self, name: str, ends: int) -> Node:
        begins, self._at = self._at, ends
        try:
            return self._wildcard(name)
        except BadTemplate as exc:
            raise BadTemplate(f"{exc} {at(begins, self._text)}") from None


def _flush(plain: list[str], parts: list[Node]) -> None:
    if plain:
        parts.append(Literal("".join(plain)))
        plain.clear()


def _range(found: re.Match[str]) -> tuple[int, int]:
    low, high, from_low, to_high, exact = found.groups()
    if exact is not None:
        return int(exact), int(exact)
    if from_low is not None:
        return int(from_low), 9999
    if to_high is not None:
        return 1, int(to_high)
    return min(int(low), int(high)), max(int(low), int(high))
