"""The lines of `ls`, one for each row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

from fluxbatch.dataset.ratings import ImageRating, with_rating
from fluxbatch.domain.formatting import dollars, shortened
from fluxbatch.domain.money import as_usd
from fluxbatch.export.columns import INVALID, results_with_samples
from fluxbatch.export.filter import Filter
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.results import RowResult
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest

_MEASURED = 200
"""Rows by which the columns are as wide as they are; later ones may stick out."""
_ID_CHARS = 32
_REASON_CHARS = 100
_HEADINGS = ("#", "id", "state", "cost", "file")


def matching_rows(
    db: Database, chosen: Filter, ratings: Mapping[str, ImageRating] = MappingProxyType({})
) -> Iterator[RowResult]:
    """Rows of which one image, or the row itself where it has none, fits."""
    manifest = latest_manifest(db)
    if manifest is not None:
        for row, samples in results_with_samples(db, manifest.seq):
            if any(chosen.matches(with_rating(sample.record, ratings)) for sample in samples):
                yield row


def table_lines(rows: Iterable[RowResult]) -> Iterator[str]:
    """A heading and a line a row; nothing where there is none."""
    lines = (_cells(row) for row in rows)
    first = list(islice(lines, _MEASURED))
    if not first:
        return
    widths = [max(len(cells[n]) for cells in (*first, _HEADINGS)) for n in range(len(_HEADINGS))]
    for cells in chain([_HEADINGS], first, lines):
        number, *middle, file = cells
        parts = [f"{number:>{widths[0]}}"]
        parts += [f"{cell:{width}}" for cell, width in zip(middle, widths[1:-1], strict=True)]
        yield "  ".join([*parts, file]).rstrip()


def _cells(row: RowResult) -> tuple[str, ...]:
    state = row.state.value if row.state is not None else INVALID
    return f"#{row.number}", _name(row), state, _cost(row), _files(row)


def _name(row: RowResult) -> str:
    again = f" reroll {row.reroll}" if row.reroll else ""
    if row.user_id is not None:
        return (shortened(row.user_id, _ID_CHARS) or '""') + again
    return row.job_id.hex()[:8] + again if row.job_id is not None else "-"


def _cost(row: RowResult) -> str:
    return dollars(row.cost) + ("?" if row.cost_is_estimated else "")


def _files(row: RowResult) -> str:
    """The first file and how many more; what went wrong where there is none."""
    if row.outputs:
        more = len(row.outputs) - 1
        return row.outputs[0].path + (f" and {more} more" if more else "")
    why = ": ".join(part for part in (row.failure and row.failure.value, row.reason) if part)
    return shortened(why, _REASON_CHARS)


def json_line(row: RowResult) -> str:
    """One row as programs get it."""
    fields: dict[str, Any] = {
        "number": row.number,
        "line": row.line or None,
        "id": row.user_id,
        "reroll": row.reroll,
        "job": row.job_id.hex() if row.job_id is not None else None,
        "state": row.state.value if row.state is not None else INVALID,
        "failure": row.failure.value if row.failure is not None else None,
        "reason": row.reason,
        "cost_usd": as_usd(row.cost),
        "cost_is_estimated": row.cost_is_estimated,
        "files": [output.path for output in row.outputs],
    }
    return json.dumps(fields, ensure_ascii=False)
