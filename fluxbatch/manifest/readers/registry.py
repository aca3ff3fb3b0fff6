"""The registry of manifest formats: the endings of each, and how its files are read.

A new one is a file beside this one, a line below, and its name in `config.sweep.MANIFEST_FORMATS`;
or it comes with another package, as a plugin (`fluxbatch.sources`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fluxbatch.config.plugins import Plugin, installed_plugins
from fluxbatch.config.sweep import ManifestFormat
from fluxbatch.errors import ConfigError, ManifestError
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

_PACKED = {".gz", ".zst", ".zstd"}


def ending_of(path: Path) -> str:
    """The ending that says what is in a file, in lower case; that of its packing left out."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def plugin_reader(path: Path, kind: ManifestFormat | None) -> ManifestReader | None:
    """The plugin that reads *path*: the one named *kind*, else by the ending, if it is none of
    ours.

    Raises `ConfigError` where a plugin is no `ManifestReader`.
    """
    if kind in MANIFEST_READERS or kind == "images":
        return None
    plugins = installed_plugins("sources")
    if kind is not None:
        return _loaded(plugins[kind]) if kind in plugins else None
    ending = ending_of(path)
    if not ending or any(ending in reader.endings for reader in MANIFEST_READERS.values()):
        return None
    readers = (_loaded(plugin) for plugin in plugins.values())
    return next((reader for reader in readers if ending in reader.endings), None)


def _loaded(plugin: Plugin) -> ManifestReader:
    """Its reader; what it raises later is told as a `ManifestError` that names it."""
    with plugin.blamed(ConfigError):
        reader = plugin.load()
    if not isinstance(reader, ManifestReader):
        raise ConfigError(
            f"the plugin {plugin.name!r} of {plugin.package} is no ManifestReader but a"
            f" {type(reader).__name__}"
        )

    def opened(source: FileSource) -> RecordsOf:
        with plugin.blamed(ManifestError):
            records_of = reader.open(source)

        def read(columns: Columns) -> Iterator[Record]:
            with plugin.blamed(ManifestError):
                yield from records_of(columns)

        return read

    return reader._replace(open=opened)
