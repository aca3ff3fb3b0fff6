"""The output of `status --coverage`: how many images are kept for each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.domain.formatting import shortened
from fluxbatch.export.columns import results_with_samples
from fluxbatch.export.coverage import (
    Combination,
    Coverage,
    CoveredValues,
    coverage_by_axis,
    coverage_json,
    coverage_of,
    value_words,
)
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.results import row_results
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest

_HEADINGS = ("kept", "rejected", "not judged", "to come")
_VALUE_CHARS = 60

CoverageTable = tuple[Sequence[str], Mapping[CoveredValues, Coverage]]
"""Fields, and the images of each of their values."""


def coverage_tables(db: Database, folder: Folder, per: Combination | None) -> list[CoverageTable]:
    """One for each axis of the sweep; with *per* one, of its combinations."""
    manifest, ratings = latest_manifest(db), ratings_of(folder)
    if manifest is None:
        return []
    if per is not None:
        results = results_with_samples(db, manifest.seq)
        return [(per.fields, coverage_of(results, per, ratings))]
    rows = row_results(db, manifest.seq)
    return [((field,), lines) for field, lines in coverage_by_axis(rows, ratings).items()]


def coverage_lines(tables: Sequence[CoverageTable]) -> Iterator[str]:
    """A heading, then a line for each value."""
    if not tables:
        yield "coverage  no axes: rows that no sweep made are counted with --per meta.NAME"
        return
    lines = [
        (shortened(", ".join(value_words(fields, values)), _VALUE_CHARS), one)
        for fields, table in tables
        for values, one in table.items()
    ]
    width = max(len("coverage"), *(len(name) for name, _ in lines))
    yield f"{'coverage':{width}}  " + "  ".join(_HEADINGS)
    for name, one in lines:
        figures = (one.kept, one.rejected, one.unjudged, one.to_come)
        cells = (f"{n:>{len(head)},}" for n, head in zip(figures, _HEADINGS, strict=True))
        yield f"{name:{width}}  " + "  ".join(cells)


def coverage_object(tables: Sequence[CoverageTable]) -> list[dict[str, Any]]:
    """The tables as programs get them."""
    return [coverage_json(fields, lines) for fields, lines in tables]
