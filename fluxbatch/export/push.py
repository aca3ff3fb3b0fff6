"""The push of a dataset: its export for the Hub, made in the dataset and then sent.

Owns what such an export has: a card, and no query of a URL; parquet has its images inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fluxbatch.dataset.folder import Folder
from fluxbatch.export.export_request import Exported, ExportRequest
from fluxbatch.export.filter import EVERYTHING, Filter
from fluxbatch.export.hub import Pushed, ReadyExport, push_export

HUB_FORMAT = "parquet"
"""Where none is named."""


def hub_request(
    folder: Folder,
    form: str = HUB_FORMAT,
    *,
    where: Filter = EVERYTHING,
    splits: Sequence[str] = (),
    shard_size: int | None = None,
    include_failed: bool = False,
    license_id: str | None = None,
    with_costs: bool = False,
) -> ExportRequest:
    """The export that a push sends, in `exports/hub` of the dataset."""
    return ExportRequest(
        folder=folder,
        format=form,
        to=Path(folder.root) / "exports" / "hub" / form,
        where=where,
        splits=splits,
        shard_size=shard_size,
        include_failed=include_failed,
        embed_images=form == "parquet",
        license=license_id,
        costs=with_costs,
        queries=False,
        has_card=True,
    )


def push_exported(
    done: Exported,
    form: str,
    url: str,
    token: str,
    *,
    public: bool,
    replace_card: bool,
    tell: Callable[[str], None],
) -> Pushed:
    """Send what `hub_request` asked for, once it is written; raises as `push_export` does."""
    ready = ReadyExport(done.path, form, done.files, done.patterns, done.images)
    return push_export(ready, url, token, public=public, replace_card=replace_card, tell=tell)
