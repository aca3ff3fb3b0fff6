"""The request for an export, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fluxbatch.dataset.folder import Folder
from fluxbatch.export.filter import EVERYTHING, Filter


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, how and where."""

    folder: Folder
    format: str
    """As in `formats.format_names`."""
    to: Path | None = None
    """A folder; for jsonl, csv and parquet also a file with that ending. None: in the dataset."""
    where: Filter = EVERYTHING
    splits: Sequence[str] = ()
    """As in `splits.parse_splits`."""
    shard_size: int | None = None
    include_failed: bool = False
    embed_images: bool = False
    license: str | None = None
    costs: bool = True
    """Whether rows and card say what it cost."""
    has_card: bool = False
    """Whether jsonl and csv get a card too."""
    queries: bool = True
    """Whether URLs in inputs keep their queries, which may be tokens."""


@dataclass(slots=True)
class Exported:
    """What an export wrote, and what it left out."""

    path: Path
    rows: int = 0
    images: int = 0
    failed_rows: int = 0
    """Failed and invalid rows without an image that are in it."""
    failed_left_out: int = 0
    unended_left_out: int = 0
    controls_missing: int = 0
    """Control images that are no more what they were, so left out."""
    splits: dict[str, int] = field(default_factory=dict)
    written: int = 0
    """Shards."""
    kept: int = 0
    """Shards that were there already, as they should be."""
    removed: int = 0
    card_kept: bool = False
    """The card was edited by hand, so it stays; the new one lies beside it."""
    models: set[str] = field(default_factory=set)
    has_controls: bool = False
    """Whether some of it was made from another image."""
    files: dict[str, str] = field(default_factory=dict, repr=False)
    """Of a folder: the sha256 of each file that belongs to it."""
    patterns: tuple[str, ...] = ()
    """Of a folder: the names of its shards, as globs."""
