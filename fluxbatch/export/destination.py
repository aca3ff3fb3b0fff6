"""The destination of an export: a folder, or one file of lines.

Owns what may be named for it, and that an export into a stranger's dataset stays in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.export.formats.base import ExportFormat
from fluxbatch.sink import refuse_link, refuse_links_in


def export_destination(
    dataset: Folder, made: ExportFormat, to: Path | None, *, in_parts: bool
) -> Path:
    """*to* where it can be one; None: in the dataset. *in_parts*: into a folder in any case.

    Raises `ConfigError`.
    """
    if to is None and dataset.is_shared:
        raise ConfigError(f"{dataset.address!r} is no folder: name one for the export (--to)")
    if to is None:
        plain = made.name in ("jsonl", "csv") and not in_parts
        return _unlinked(
            dataset, dataset.root / "exports" / (f"results.{made.name}" if plain else made.name)
        )
    if to.suffix == f".{made.name}" and not to.is_dir():
        if in_parts:
            raise ConfigError(
                f"--to {str(to)!r} is one file; with --split or --shard-size name a folder"
            )
        return _unlinked(dataset, to)
    inside = (dataset.images, dataset.root / "tmp")
    if any(to.absolute().is_relative_to(place.absolute()) for place in inside):
        raise ConfigError(f"--to {str(to)!r} is where the dataset keeps its own files")
    return _unlinked(dataset, to)


def _unlinked(dataset: Folder, to: Path) -> Path:
    """A dataset may be a stranger's: what is exported into it stays in it."""
    if Path(os.path.abspath(to)).is_relative_to(os.path.abspath(dataset.root)):
        refuse_link(str(dataset.root / "exports"))
        refuse_link(str(to.parent / f".{to.name}.part"))
        refuse_links_in(str(to))
    return to
