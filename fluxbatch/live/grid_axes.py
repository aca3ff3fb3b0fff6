"""The axes of a live grid: the values of a sweep, and the combination that each job has.

Owns the order of values: numbers by size, anything else as the rows have it. Knows nothing of
where a job stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fluxbatch.ledger.queries.grid_jobs import GridRow

ABSENT = -1
"""In the place of a value: the row has none on this axis."""


@dataclass(frozen=True, slots=True)
class GridAxis:
    """An axis of the sweep."""

    name: str
    values: tuple[str, ...]


class GridAxes:
    """Which job has which combination of values; a combination is known by its place in a list."""

    def __init__(self, rows: Iterable[GridRow], rerolls: Sequence[tuple[int, int]]) -> None:
        numbers: dict[str, int] = {}
        self.of_job: dict[int, tuple[int, ...]] = {}
        """A job's combinations, one for each of its rows that has another."""
        self.invalid: dict[int, int] = {}
        """How many rows of a combination are invalid."""
        self.last_row = 0
        alone: list[tuple[int, ...]] = []  # most jobs have one, and share what says so
        for number, job_seq, text in rows:
            place = numbers.setdefault(text, len(numbers))
            if place == len(alone):
                alone.append((place,))
            self.last_row = number
            if job_seq is None:
                self.invalid[place] = self.invalid.get(place, 0) + 1
            elif place not in (places := self.of_job.setdefault(job_seq, alone[place])):
                self.of_job[job_seq] = (*places, place)
        for job_seq, origin in rerolls:
            if origin in self.of_job:
                self.of_job[job_seq] = self.of_job[origin]
        found: list[dict[str, Any]] = [json.loads(text) for text in numbers]
        self.axes = _axes(found)
        self.combinations = _combinations(found, self.axes)
        """The places of the values on each axis."""

    def place_of(self, name: str) -> int | None:
        """Of the axis of that name; None where there is none."""
        return next((at for at, axis in enumerate(self.axes) if axis.name == name), None)


def value_text(value: object) -> str:
    """A value as it is shown and asked for."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _axes(found: Sequence[dict[str, Any]]) -> tuple[GridAxis, ...]:
    values: dict[str, dict[str, Any]] = {}
    for one in found:
        for name, value in one.items():
            values.setdefault(name, {}).setdefault(value_text(value), value)
    return tuple(GridAxis(name, _in_order(known)) for name, known in values.items())


def _in_order(known: dict[str, Any]) -> tuple[str, ...]:
    if all(isinstance(value, int | float) for value in known.values()):
        return tuple(sorted(known, key=known.__getitem__))
    return tuple(known)


def _combinations(
    found: Sequence[dict[str, Any]], axes: Sequence[GridAxis]
) -> list[tuple[int, ...]]:
    places = [(axis.name, {text: at for at, text in enumerate(axis.values)}) for axis in axes]
    return [
        tuple(known[value_text(one[name])] if name in one else ABSENT for name, known in places)
        for one in found
    ]
