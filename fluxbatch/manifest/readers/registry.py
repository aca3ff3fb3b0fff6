"""The registry of manifest formats: the endings of each, and how its files are read.

A new one is a file beside this one, a line below, and its name in `config.sweep.ManifestFormat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from fluxbatch.config.sweep import ManifestFormat
from fluxbatch.manifest.columns import Columns
from fluxbatch.manifest.readers.csv import read_csv
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.manifest.readers.jsonl import read_jsonl
from fluxbatch.manifest.readers.parquet import ParquetFile
from fluxbatch.manifest.readers.records import Record
from fluxbatch.manifest.readers.yaml_toml import read_toml, read_yaml

RecordsOf = Callable[[Columns], Iterator[Record]]


class ManifestReader(NamedTuple):
    """One format."""

    title: str
    """What messages call it."""
    endings: tuple[str, ...]
    """Of its files' names, in lower case."""
    open: Callable[[FileSource], RecordsOf]
    """Looks at a file once, and answers what each pass reads; raises `ManifestError`."""


def _separated(delimiter: str) -> Callable[[FileSource], RecordsOf]:
    return lambda source: lambda columns: read_csv(source.lines(), columns.check_header, delimiter)


MANIFEST_READERS: Mapping[ManifestFormat, ManifestReader] = {
    "csv": ManifestReader("CSV (.csv)", (".csv",), _separated(",")),
    "tsv": ManifestReader("TSV (.tsv)", (".tsv", ".tab"), _separated("\t")),
    "jsonl": ManifestReader(
        "JSONL (.jsonl, .ndjson)",
        (".jsonl", ".ndjson"),
        lambda source: lambda _: read_jsonl(source.lines()),
    ),
    "parquet": ManifestReader(
        "Parquet (.parquet)", (".parquet", ".pq"), lambda source: ParquetFile(source).records
    ),
    "yaml": ManifestReader(
        "YAML (.yaml)", (".yaml", ".yml"), lambda source: lambda _: read_yaml(source)
    ),
    "toml": ManifestReader("TOML (.toml)", (".toml",), lambda source: lambda _: read_toml(source)),
}
"""`images` is not among them: it is a folder, and has no file to read."""
