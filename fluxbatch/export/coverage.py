"""The coverage of a dataset: how many images are kept for each value, or each combination.

Owns what counts: an image that nobody has judged may still be kept, and so may one that an
unfinished job will give. Money and new jobs are for others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fluxbatch.dataset.ratings import ImageRating, Verdict
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import ExportRecord, Sample
from fluxbatch.export.filter import field_reader
from fluxbatch.ledger.queries.results import RowResult

CoveredValues = tuple[str | None, ...]
"""One of each field; None where a row has none."""
_ENDED = (JobState.DONE, JobState.FAILED, None)


@dataclass(slots=True)
class Coverage:
    """The images of one value, or of one combination."""

    kept: int = 0
    rejected: int = 0
    unjudged: int = 0
    to_come: int = 0
    """That jobs without an end are to give."""

    @property
    def at_most(self) -> int:
        """How many may be kept without anything new."""
        return self.kept + self.unjudged + self.to_come

    def count(self, row: RowResult, ratings: Mapping[str, ImageRating]) -> None:
        """Add a row, or a reroll of one."""
        if row.state not in _ENDED:
            self.to_come += row.outputs_wanted
        for output in row.outputs:
            rated = ratings.get(output.sha256)
            verdict = rated.verdict if rated is not None else None
            self.kept += verdict is Verdict.KEEP
            self.rejected += verdict is Verdict.REJECT
            self.unjudged += verdict is None

    def add(self, other: Coverage) -> None:
        self.kept += other.kept
        self.rejected += other.rejected
        self.unjudged += other.unjudged
        self.to_come += other.to_come

    def as_json(self) -> dict[str, int]:
        return {
            "kept": self.kept,
            "rejected": self.rejected,
            "unjudged": self.unjudged,
            "to_come": self.to_come,
        }


class Combination:
    """The fields whose values belong together, as `--per` names them."""

    def __init__(self, fields: Sequence[str]) -> None:
        """Raise `ConfigError` for a field that there is not."""
        if not fields or not all(fields):
            raise ConfigError("--per: name fields, as in  --per axes.style,axes.guidance")
        self.fields = tuple(dict.fromkeys(fields))
        self._readers = [_reader(field) for field in self.fields]

    def of(self, record: ExportRecord) -> CoveredValues:
        return tuple(_text(read(record)) for read in self._readers)

    def refuse_unknown(self, found: Collection[CoveredValues]) -> None:
        """Raise `ConfigError` for an axis, or a name of `meta`, that none of these rows has."""
        for place, field in enumerate(self.fields):
            is_open = field.startswith(("axes.", "meta."))
            if is_open and found and all(values[place] is None for values in found):
                raise ConfigError(
                    f"--per: no row has {field!r}; `fluxbatch status DIR --coverage` shows the axes"
                )


def parse_per(text: str) -> Combination:
    """What `--per` names, commas between; raise `ConfigError`."""
    return Combination([field.strip() for field in text.split(",")])


def coverage_of(
    results: Iterable[tuple[RowResult, Sequence[Sample]]],
    per: Combination,
    ratings: Mapping[str, ImageRating],
) -> dict[CoveredValues, Coverage]:
    """Of each combination that the rows (their rerolls among them) have, in their order."""
    found: dict[CoveredValues, Coverage] = {}
    for row, samples in results:
        found.setdefault(per.of(samples[0].record), Coverage()).count(row, ratings)
    per.refuse_unknown(found)
    return found


def coverage_by_axis(
    rows: Iterable[RowResult], ratings: Mapping[str, ImageRating]
) -> dict[str, dict[CoveredValues, Coverage]]:
    """Of each value of each axis of a sweep, by the field's name (`axes.style`)."""
    found: dict[str, dict[CoveredValues, Coverage]] = {}
    for row in rows:
        for axis, value in row.axes.items():
            lines = found.setdefault(f"axes.{axis}", {})
            lines.setdefault((_text(value),), Coverage()).count(row, ratings)
    return found


def coverage_json(fields: Sequence[str], lines: Mapping[CoveredValues, Coverage]) -> dict[str, Any]:
    """One table as programs get it."""
    return {
        "per": list(fields),
        "values": [{"of": list(values), **one.as_json()} for values, one in lines.items()],
    }


def value_words(fields: Sequence[str], values: CoveredValues) -> Iterator[str]:
    """`style=ink`, a field each."""
    for field, value in zip(fields, values, strict=True):
        yield f"{field.removeprefix('axes.')}={'none' if value is None else value}"


def _reader(field: str) -> Callable[[Mapping[str, Any]], Any]:
    try:
        return field_reader(field)
    except ConfigError as exc:
        raise ConfigError(f"--per: {exc}") from None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
