"""The nodes of a parsed template: its expansions, counted and numbered without making any.

Owns counting, the text of a given number, and drawing. A node is shared wherever its template
names it again, so it may never keep anything of one expansion. Knows nothing of how it was written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import comb, factorial
from typing import Protocol

from fluxbatch.manifest.templates.errors import BadTemplate
from fluxbatch.manifest.templates.output import OutputBuffer, SeededDraw

MOST_PICKED = 100
"""Of one `{n$$…}`."""
MOST_TEXTS = 10**300
"""That one template may become."""
_MOST_WORK = 1_000_000


class Node(Protocol):
    """A part of a template."""

    @property
    def count(self) -> int:
        """How many texts it may become; equal ones count apart."""
        ...

    def write(self, number: int, into: OutputBuffer) -> None:
        """Its text of that *number*, which is below `count`."""
        ...

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        """A text of it, by the weights."""
        ...


class Literal:
    """Text as it stands."""

    count = 1

    def __init__(self, text: str) -> None:
        self._text = text

    def write(self, number: int, into: OutputBuffer) -> None:
        into.step()
        into.add(self._text)

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        self.write(0, into)


class VariableAccess:
    """`${name}`: what the row, the cell or an assignment above says it is."""

    count = 1

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, number: int, into: OutputBuffer) -> None:
        into.step()
        into.add(into.names[self._name])

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        self.write(0, into)


class NodeSequence:
    """Parts one after the other; the last varies first."""

    def __init__(self, parts: Sequence[Node]) -> None:
        self._parts = tuple(parts)
        self.count = 1
        for part in self._parts:
            self.count = _bounded(self.count * part.count)

    def write(self, number: int, into: OutputBuffer) -> None:
        into.step()
        numbers: list[int] = []
        for part in reversed(self._parts):
            number, own = divmod(number, part.count)
            numbers.append(own)
        for part in self._parts:
            part.write(numbers.pop(), into)

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        into.step()
        for part in self._parts:
            part.draw(draw, into)


class VariableAssignment:
    """`${name=!value}` and what follows it: the value is chosen once."""

    def __init__(self, name: str, value: Node, body: Node) -> None:
        self._name = name
        self._value = value
        self._body = body
        self.count = _bounded(value.count * body.count)

    def write(self, number: int, into: OutputBuffer) -> None:
        into.step()
        first, second = divmod(number, self._body.count)
        mark = into.mark()
        self._value.write(first, into)
        outer = self._named(into, into.cut(mark))
        self._body.write(second, into)
        self._unnamed(into, outer)

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        into.step()
        mark = into.mark()
        self._value.draw(draw, into)
        outer = self._named(into, into.cut(mark))
        self._body.draw(draw, into)
        self._unnamed(into, outer)

    def _named(self, into: OutputBuffer, chosen: str) -> str | None:
        outer = into.names.get(self._name)
        into.names[self._name] = chosen
        return outer

    def _unnamed(self, into: OutputBuffer, outer: str | None) -> None:
        if outer is None:
            del into.names[self._name]
        else:
            into.names[self._name] = outer


class Variants:
    """`{a|b}`, `{2$$a|b|c}`: some of its options, none twice, in every order."""

    def __init__(
        self,
        options: Sequence[tuple[int, Node]],
        least: int = 1,
        most: int = 1,
        separator: str = ",",
    ) -> None:
        """*options* with their weights, all above zero. Raises `BadTemplate` for too many."""
        self._weights = [weight for weight, _ in options]
        self._options = [option for _, option in options]
        self._most = min(most, len(options))
        self._least = min(least, self._most)
        self._separator = separator
        if self._most > MOST_PICKED or self._most * len(options) > _MOST_WORK:
            raise BadTemplate(f"picks {self._most} of {len(options)} options, which is too many")
        self._counts = [option.count for option in self._options]
        self._ways = _ways(self._counts, self._most)
        self.count = _bounded(
            sum(
                factorial(picked) * self._ways[picked]
                for picked in range(self._least, self._most + 1)
            )
        )
        self._is_one = self._least == self._most == 1
        self._counted = list(accumulate(self._counts))
        self._weighed = list(accumulate(self._weights))

    @property
    def options(self) -> list[tuple[int, Node]]:
        return list(zip(self._weights, self._options, strict=True))

    def write(self, number: int, into: OutputBuffer) -> None:
        into.step()
        if self._is_one:
            at = bisect_right(self._counted, number)
            self._options[at].write(number - (self._counted[at] - self._counts[at]), into)
            return
        picked = self._least
        while number >= (here := factorial(picked) * self._ways[picked]):
            number -= here
            picked += 1
        left = list(range(len(self._options)))
        ways: Sequence[int] = self._ways
        for place in range(picked):
            at, own, number, ways = self._pick(number, picked - place, left, ways)
            if place:
                into.add(self._separator)
            self._options[left.pop(at)].write(own, into)

    def _pick(
        self, number: int, picked: int, left: list[int], ways: Sequence[int]
    ) -> tuple[int, int, int, Sequence[int]]:
        """Which of *left* comes first, its own number, and what remains of *number* and *ways*."""
        if len(set(self._counts)) == 1:  # by arithmetic: a file of wildcards has many lines
            count = self._counts[0]
            after = factorial(picked - 1) * comb(len(left) - 1, picked - 1) * count ** (picked - 1)
            at, number = divmod(number, count * after)
            return at, number // after, number % after, ways
        for at, option in enumerate(left):
            without = _without(ways, self._counts[option], picked)
            after = factorial(picked - 1) * without[picked - 1]
            if number < self._counts[option] * after:
                return at, number // after, number % after, without
            number -= self._counts[option] * after
        raise AssertionError("the number is not below the count")

    def draw(self, draw: SeededDraw, into: OutputBuffer) -> None:
        into.step()
        if self._is_one:
            at = bisect_right(self._weighed, draw.below(self._weighed[-1]))
            self._options[at].draw(draw, into)
            return
        picked = self._least + draw.below(self._most - self._least + 1)
        left = self.options
        for place in range(picked):
            ticket = draw.below(sum(weight for weight, _ in left))
            at = 0
            while ticket >= left[at][0]:
                ticket -= left[at][0]
                at += 1
            if place:
                into.add(self._separator)
            left.pop(at)[1].draw(draw, into)


def _bounded(count: int) -> int:
    if count > MOST_TEXTS:
        raise BadTemplate("becomes more than 10^300 prompts")
    return count


def _ways(counts: Sequence[int], most: int) -> list[int]:
    """By how many are picked: in how many ways, when their order does not matter."""
    if len(set(counts)) == 1:
        return [
            _bounded(comb(len(counts), picked) * counts[0] ** picked) for picked in range(most + 1)
        ]
    ways = [1] + [0] * most
    for count in counts:
        for picked in range(most, 0, -1):
            ways[picked] = _bounded(ways[picked] + ways[picked - 1] * count)
    return ways


def _without(ways: Sequence[int], count: int, picked: int) -> list[int]:
    """`_ways` of fewer than *picked*, of the same options but for one of *count* texts."""
    left = [1]
    for fewer in range(1, picked):
        left.append(ways[fewer] - count * left[fewer - 1])
    return left
