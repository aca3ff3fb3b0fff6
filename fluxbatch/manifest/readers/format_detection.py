"""The format of a manifest file, by the ending of its name, else by its first bytes.

Owns what is guessed and what is refused. What each format is, `registry` knows.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path

from fluxbatch.config.sweep import ManifestFormat
from fluxbatch.domain.formatting import shell_word
from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import PARQUET
from fluxbatch.manifest.readers.registry import MANIFEST_READERS, ending_of

_ENDINGS: Mapping[str, ManifestFormat] = {
    ending: kind for kind, reader in MANIFEST_READERS.items() for ending in reader.endings
}
_TITLES = [reader.title for reader in MANIFEST_READERS.values()]
_ANY_FORMAT = f"{', '.join(_TITLES[:-1])} or {_TITLES[-1]}"


def format_of(path: Path, head: bytes) -> ManifestFormat:
    """The format by the file's name, else by its first bytes; raise `ManifestError`."""
    if head.startswith(PARQUET):
        return "parquet"
    suffix = ending_of(path)
    if (known := _ENDINGS.get(suffix)) is not None:
        return known
    refuse_array(path, head)
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if suffix == ".json":
        return "jsonl"
    if text.startswith("{"):
        return "jsonl"
    if suffix in {"", ".txt", ".dat"} and (sniffed := _sniffed(text)) is not None:
        return sniffed
    raise ManifestError(
        f"manifest {str(path)!r} is no {_ANY_FORMAT}; name the format with --format, or rename it"
    )


def refuse_array(path: Path, head: bytes) -> None:
    """Raise `ManifestError` for JSON that is one array of rows, with how to make lines of it."""
    if re.match(rb"\s*\[\s*\{", head.removeprefix(codecs.BOM_UTF8)):
        raise ManifestError(
            f"manifest {str(path)!r} looks like one JSON array; write one object a line: "
            f"jq -c '.[]' {shell_word(path.name)} > {shell_word(f'{path.stem}.lines.jsonl')}"
        )


def _sniffed(text: str) -> ManifestFormat | None:
    first_line = text.partition("\n")[0]
    if text.startswith(("- ", "-\n")):
        return "yaml"
    if text.startswith("[["):
        return "toml"
    if "\t" in first_line:
        return "tsv"
    return "csv" if "," in first_line else None
