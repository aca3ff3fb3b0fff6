"""Parquet: explicit types, nothing of the run or the moment in the file.

Owns the schema that the other formats' tables have too, and pyarrow, which is an extra: it is
imported when a table is written and not before. What is nested is JSON text, because its shape
differs from row to row. Source: docs/design/decisions.md "Results Parquet".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from fluxbatch._version import __version__
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import (
    COLUMNS,
    ColumnType,
    ExportRecord,
    Sample,
    SamplePage,
    same_throughout,
)
from fluxbatch.export.formats.base import Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, mark_of

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_SCHEMA_VERSION = 1
IMAGE_COLUMNS = ("image", "control")

_GROUP_ROWS = 10_000
_GROUP_IMAGES = 100
"""More makes the viewer of the Hub slow (dataset-viewer#1771)."""
_GROUP_BYTES = 64 << 20
_DTYPES: Mapping[ColumnType, str] = {
    "text": "string",
    "nested": "string",
    "integer": "int64",
    "number": "float64",
    "flag": "bool",
    "money": "decimal128(12, 6)",
    "moment": "timestamp[us, tz=UTC]",
}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def require_pyarrow(format_name: str) -> None:
    """Raise `ConfigError` naming the extra where pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401  # whether it can be imported is the question
    except ImportError:
        raise ConfigError(
            f"the format {format_name!r} needs pyarrow: pip install 'fluxbatch-engine[parquet]'"
        ) from None


def text_column(record: ExportRecord) -> ExportRecord:
    """*record* with what is nested as JSON text."""
    return {
        name: _encode(record[name]) if kind == "nested" else record[name]
        for name, kind in COLUMNS.items()
    }


class Table:
    """One parquet file, written group by group; whole once the block ends."""

    def __init__(self, file: IO[bytes], *, embed: bool = False) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._schema = _schema(pa, embed=embed)
        self._writer = pq.ParquetWriter(
            file, self._schema, compression="zstd", compression_level=3, version="2.6"
        )
        self._group_rows = _GROUP_IMAGES if embed else _GROUP_ROWS
        self._images: list[Mapping[str, Mapping[str, Any] | None]] = []
        self._records: list[Sequence[Any]] = []
        self._bytes = 0

    def add(self, record: ExportRecord, images: Mapping[str, Mapping[str, Any] | None]) -> None:
        """A row; *images* are the values of the image columns."""
        self._records.append(_in_order(record))
        self._images.append(images)
        self._bytes += sum(len(image["bytes"]) for image in images.values() if image)
        if len(self._records) >= self._group_rows or self._bytes >= _GROUP_BYTES:
            self._flush()

    def add_blocks(self, blocks: Iterable[bytes]) -> None:
        """Rows without images, in blocks of `block_of`; nothing else may be added to this file."""
        pa = self._pa
        kept = _block_schema(pa)
        waiting = pa.Table.from_batches([], schema=kept)
        for block in blocks:
            batch = pa.ipc.read_record_batch(pa.py_buffer(block), kept)
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            while len(waiting) >= self._group_rows:
                self._write(waiting.slice(0, self._group_rows))
                waiting = waiting.slice(self._group_rows)
        if len(waiting):
            self._write(waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._records and error is None:
                self._flush()
        finally:
            self._writer.close()  # while its file is open: it would try again when collected

    def _flush(self) -> None:
        """One group, made column by column: value by value takes twice the time."""
        pa, kinds = self._pa, dict(COLUMNS)
        types = {field.name: field.type for field in self._schema}
        arrays = [
            pa.array([images[name] for images in self._images], type=types[name])
            for name in self._schema.names
            if name not in kinds
        ]
        for (name, kind), values in zip(
            kinds.items(), zip(*self._records, strict=True), strict=True
        ):
            arrays.append(arrow_array(pa, kind, values, types[name]))
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(table))
        self._records, self._images, self._bytes = [], [], 0

    def _write(self, columns: pa.Table) -> None:
        """One group, of columns as they are kept in blocks."""
        types = {field.name: field.type for field in self._schema}
        arrays = [
            typed_array(self._pa, kind, columns[name].combine_chunks(), types[name])
            for name, kind in COLUMNS.items()
        ]
        table = self._pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(table))


def block_of(page: SamplePage) -> bytes:
    """The columns of *page*, for a `Table`.

    Moments and money are still texts, and get their types for many pages at once. Also, arrow
    leaves what it likes in the gaps of what it has converted, and a block's bytes must not differ.
    """
    import pyarrow as pa

    kept = _block_schema(pa)
    arrays = [
        pa.array(_texts(values, page.texts.get(name)) if kind == "nested" else values, type=type_)
        for (name, kind), values, type_ in zip(
            COLUMNS.items(), page.columns.values(), kept.types, strict=True
        )
    ]
    block: bytes = pa.RecordBatch.from_arrays(arrays, schema=kept).serialize().to_pybytes()
    return block


def write_table(file: IO[bytes], records: Iterable[ExportRecord]) -> None:
    """A table without images."""
    with Table(file) as table:
        for record in records:
            table.add(record, {})


class Parquet:
    """A row an image; with `embed` the image and its control image are columns of their own."""

    name: Final = "parquet"
    most: Final = None
    needs_image: Final = False
    patterns: Final = ("*-??????.parquet", ".fluxbatch/*-??????.json")
    data_files: Final = "SPLIT-*.parquet"

    def __init__(self, images: SampleImages, *, embed: bool = False) -> None:
        require_pyarrow(self.name)
        self._images = images
        self._embed = embed

    @property
    def identity(self) -> str:
        return f"parquet {PARQUET_SCHEMA_VERSION} of {__version__}" + (
            " embedded" if self._embed else ""
        )

    @property
    def shard_size(self) -> int:
        return 1_000 if self._embed else 100_000

    @property
    def holds_images(self) -> bool:
        return self._embed

    def mark(self, stem: Stem) -> str:
        return mark_of(str(stem))

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        with (
            draft.open(f"{stem}.parquet") as file,
            Table(file, embed=self._embed) as table,
        ):
            for sample in samples:
                table.add(sample.record, self._embedded(sample) if self._embed else {})

    def block(self, page: SamplePage) -> bytes:
        return block_of(page)

    def write_blocks(self, blocks: Iterable[bytes], draft: Draft, stem: Stem) -> None:
        with draft.open(f"{stem}.parquet") as file, Table(file) as table:
            table.add_blocks(blocks)

    def _embedded(self, sample: Sample) -> Mapping[str, Mapping[str, Any] | None]:
        image = control = None
        if sample.image is not None:
            name = f"{sample.record['key']}.{sample.record['format']}"
            image = {"bytes": self._images.image(sample), "path": name}
        if sample.control is not None:
            data = self._images.control(sample.control)
            control = {"bytes": data, "path": sample.control.name}
        return {"image": image, "control": control}


def arrow_types(pa: Any) -> Mapping[ColumnType, Any]:
    """How each kind of column is kept."""
    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "decimal128(12, 6)": pa.decimal128(12, 6),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    }
    return {kind: types[name] for kind, name in _DTYPES.items()}


def _schema(pa: Any, *, embed: bool) -> pa.Schema:
    types = arrow_types(pa)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [(name, picture) for name in IMAGE_COLUMNS] if embed else []
    fields += [(name, types[kind]) for name, kind in COLUMNS.items()]
    metadata = {"fluxbatch.version": __version__, "fluxbatch.schema": str(PARQUET_SCHEMA_VERSION)}
    if embed:  # so that `datasets` shows them as images
        metadata["huggingface"] = json.dumps({"info": {"features": _features()}})
    return pa.schema(fields, metadata=metadata)


def _features() -> dict[str, Any]:
    pictures: dict[str, Any] = {name: {"_type": "Image"} for name in IMAGE_COLUMNS}
    values = {n: {"dtype": _DTYPES[kind], "_type": "Value"} for n, kind in COLUMNS.items()}
    return {**pictures, **values}


def _block_schema(pa: Any) -> pa.Schema:
    types = {**arrow_types(pa), "money": pa.string(), "moment": pa.string()}
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def arrow_array(pa: Any, kind: ColumnType, values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """The values of one column, of the type that `arrow_types` has for it."""
    if kind == "nested":
        return pa.array(_texts(values, None), type=type_)
    if kind in ("money", "moment"):
        return typed_array(pa, kind, pa.array(values, type=pa.string()), type_)
    return pa.array(values, type=type_)


def typed_array(pa: Any, kind: ColumnType, values: pa.Array, type_: pa.DataType) -> pa.Array:
    """The same of *values* where money and moments are texts."""
    if values.type == type_:
        return values
    try:
        return values.cast(type_)
    except pa.ArrowInvalid:
        if kind != "moment":
            raise
        # Arrow reads fewer kinds of RFC 3339, in a tenth of the time.
        texts = values.to_pylist()
        moments = [text and datetime.fromisoformat(text) for text in texts]
        return pa.array(moments, type=type_)


def _texts(values: Sequence[Any], texts: Sequence[str | None] | None) -> list[str | None]:
    """As JSON; *texts* are those that are at hand."""
    if texts is None and same_throughout(values):
        return [_text(values[0])] * len(values)
    pairs = zip(texts or [None] * len(values), values, strict=True)
    return [text or _text(value) for text, value in pairs]


def _text(value: Any) -> str | None:
    return None if value is None else _encode(value) if value else str(value)


_in_order = itemgetter(*COLUMNS)
