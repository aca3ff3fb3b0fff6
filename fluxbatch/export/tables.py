"""The rows of a dataset as one table in memory, for analysis: no file is written.

Owns its columns: those of an export, without what only an export gives a row, and the ratings.
What is nested is JSON text, because its shape differs from row to row. pyarrow and polars are
extras, imported when a table is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.dataset.ratings import ImageRating, with_rating
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS, EXPORT_COLUMNS, ColumnType, results_with_samples
from fluxbatch.export.filter import RATING_FIELDS, Filter
from fluxbatch.export.formats.parquet import arrow_array, arrow_types
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest

if TYPE_CHECKING:
    import polars
    import pyarrow as pa

TABLE_COLUMNS: Mapping[str, ColumnType] = {
    **{name: kind for name, kind in COLUMNS.items() if name not in EXPORT_COLUMNS},
    **RATING_FIELDS,
}
_BATCH_ROWS = 10_000
_UNRATED = ImageRating().as_fields()
_in_order = itemgetter(*TABLE_COLUMNS)


def arrow_table(folder: Folder, chosen: Filter) -> pa.Table:
    """The lines of the latest manifest that fit; raises `ConfigError` without pyarrow."""
    pa = _imported("pyarrow")
    kinds = arrow_types(pa)
    schema = pa.schema([(name, kinds[kind]) for name, kind in TABLE_COLUMNS.items()])
    with folder.reader() as db:
        lines = _lines(db, chosen, ratings_of(folder))
        batches = [
            pa.RecordBatch.from_arrays(
                [
                    arrow_array(pa, kind, values, kinds[kind])
                    for kind, values in zip(
                        TABLE_COLUMNS.values(), zip(*batch, strict=True), strict=True
                    )
                ],
                schema=schema,
            )
            for batch in iter(partial(_taken, lines), [])
        ]
    return pa.Table.from_batches(batches, schema=schema)


def polars_frame(folder: Folder, chosen: Filter) -> polars.DataFrame:
    """The same as a data frame of polars; raises `ConfigError` without it."""
    frames = _imported("polars")
    frame: polars.DataFrame = frames.DataFrame(arrow_table(folder, chosen))
    return frame


def _taken(lines: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(islice(lines, _BATCH_ROWS))


def _lines(
    db: Database, chosen: Filter, ratings: Mapping[str, ImageRating]
) -> Iterator[tuple[Any, ...]]:
    latest = latest_manifest(db)
    for _, samples in results_with_samples(db, latest.seq) if latest is not None else ():
        for sample in samples:
            record = with_rating(sample.record, ratings)
            if chosen.matches(record):
                yield _in_order({**_UNRATED, **record})


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"a table needs {name}: pip install 'fluxbatch-engine[tables]'") from None
