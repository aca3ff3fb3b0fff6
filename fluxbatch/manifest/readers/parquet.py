"""Parquet manifests: read batch by batch, the types of the columns looked at once.

Owns what becomes of Arrow's types. A column whose type no row could use (bytes, times, nested data
where an input is) is refused as a whole; in `meta.*` times and decimals are kept as their text.
A 32-bit fraction is the shortest decimal that it stands for: 7.1, not 7.099999904632568.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.columns import Columns
from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES, FileSource
from fluxbatch.manifest.readers.records import Record

_BATCH = 256
_BUFFER_BYTES = 64 * 1024

Convert = Callable[[Any], Sequence[object]]
"""A column of a batch as Python's own values."""


class ParquetFile:
    """The rows of one file. Opened by each pass anew."""

    def __init__(self, source: FileSource) -> None:
        """Raise `ManifestError` for what cannot be read, and where pyarrow is not there."""
        self._pa = _pyarrow(source.path)
        self._source = source

    def records(self, columns: Columns) -> Iterator[Record]:
        """Each row's number, from 1, and its cells."""
        before = os.stat(self._source.path)
        try:
            yield from self._records(columns)
        except (self._pa.ArrowException, OSError, ValueError, KeyError) as exc:
            reason = str(exc).partition("\n")[0][:200]
            raise ManifestError(
                f"manifest {str(self._source.path)!r} is no Parquet file that can be read: {reason}"
            ) from None
        after = os.stat(self._source.path)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ManifestError(
                f"manifest {str(self._source.path)!r} changed while it was read; run again"
            )

    def _open(self) -> Any:
        """A reader on the plain allocator: Arrow's own keeps what a million rows took (20 MB)."""
        import pyarrow.parquet as pq

        usual = self._pa.default_memory_pool()
        self._pa.set_memory_pool(self._pa.system_memory_pool())
        try:
            path = str(self._source.path)
            return pq.ParquetFile(
                path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
        finally:
            self._pa.set_memory_pool(usual)

    def _records(self, columns: Columns) -> Iterator[Record]:
        with self._open() as file:
            schema = file.schema_arrow
            names = [str(name) for name in schema.names]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ManifestError(f"two columns of the manifest are named {twice[0]!r}")
            columns.check_header(names)
            converts = self._converters(
                schema, [name for name in names if columns.uses(name)], columns
            )
            kept = list(converts)
            number = 0
            total = max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=_BATCH, columns=kept, use_threads=False):
                rows = [converts[name](batch.column(name)) for name in kept]
                for cells in zip(*rows, strict=True):
                    number += 1
                    yield number, _fit(dict(zip(kept, cells, strict=True)))
                self._source.bytes_read = self._source.bytes * number // total

    def _converters(
        self, schema: Any, names: Sequence[str], columns: Columns
    ) -> dict[str, Convert]:
        """By column; one that no row could use is left out where the config ignores such."""
        found: dict[str, Convert] = {}
        for name in names:
            try:
                kind = schema.field(name).type
                found[name] = _converter(self._pa, name, kind, columns.is_input(name))
            except ManifestError:
                if not columns.may_ignore(name):
                    raise
        return found


def _fit(cells: Mapping[str, object]) -> Mapping[str, object] | str:
    for name, cell in cells.items():
        if type(cell) is str and len(cell) > MAX_LINE_BYTES:
            return f"{name!r} is longer than {MAX_LINE_BYTES // 2**20} MiB"
    return cells


def _converter(pa: Any, name: str, kind: Any, is_input: bool) -> Convert:
    """How a column becomes values; raise `ManifestError` for one that never can."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
        inner = _converter(pa, name, kind, is_input)
        return lambda column: inner(column.storage)
    if types.is_dictionary(kind):
        inner = _converter(pa, name, kind.value_type, is_input)
        return lambda column: inner(column.dictionary_decode())
    if types.is_float32(kind) or types.is_float16(kind):
        shape = "f" if types.is_float32(kind) else "e"
        return lambda column: [_shortest(value, shape) for value in column.to_pylist()]
    if _is_plain(types, kind):
        return lambda column: column.to_pylist()
    if types.is_decimal(kind) or (types.is_temporal(kind) and not is_input):
        return lambda column: column.cast(pa.string()).to_pylist()
    if types.is_nested(kind) and not is_input:
        _require_plain(types, name, kind)
        return lambda column: column.to_pylist(maps_as_pydicts="strict")
    raise ManifestError(_refusal(types, name, kind, is_input))


def _is_plain(types: Any, kind: Any) -> bool:
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_float64(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def _require_plain(types: Any, name: str, kind: Any) -> None:
    """Nested data may stand in `meta` and `input`, when JSON has a form for all of it."""
    if types.is_nested(kind):
        if types.is_map(kind):
            inner = [kind.key_type, kind.item_type]
        else:
            inner = [kind.field(at).type for at in range(kind.num_fields)]
        for one in inner:
            _require_plain(types, name, one)
    elif not (_is_plain(types, kind) or types.is_float32(kind)):
        raise ManifestError(_refusal(types, name, kind, is_input=False))


def _refusal(types: Any, name: str, kind: Any, is_input: bool) -> str:
    said = f"column {name!r} of the manifest is of type {str(kind)[:80]}"
    if types.is_struct(kind) and "bytes" in {kind.field(at).name for at in range(kind.num_fields)}:
        return f"{said}: images within; write them to files, and give their paths"
    if types.is_nested(kind):
        return f"{said}; an input is a single value, so flatten it"
    if types.is_temporal(kind) and is_input:
        return f"{said}; no input is a time. Cast it to text"
    return f"{said}, which is no text and no number; cast it, or leave it out"


def _shortest(value: float | None, shape: str) -> float | None:
    if value is None:
        return None
    for digits in (3, 6, 7, 8):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack(shape, short) == struct.pack(shape, value):
                return short
        except OverflowError:
            continue
    return value


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ManifestError(
            f"manifest {str(path)!r} is a Parquet file;"
            " pip install 'fluxbatch-engine[parquet]' to read it"
        ) from None
    return pyarrow
