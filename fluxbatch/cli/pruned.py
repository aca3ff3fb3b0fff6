"""What `uploads prune` is about to delete, asked about, and what it has deleted, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from fluxbatch.cli.talk import Talk
from fluxbatch.cli.words import count, size
from fluxbatch.dataset import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.uploads import unused_uploads
from fluxbatch.upkeep import PruneReport


def confirmed(talk: Talk, folder: Folder, *, yes: bool) -> bool:
    """Whether they may go: nothing is there to delete, or somebody said yes.

    Raises `ConfigError` where nobody can be asked.
    """
    with folder.reader() as db:
        unused = unused_uploads(db)
    if not unused or yes:
        return True
    words = f"{count(len(unused), 'upload')} ({size(sum(one.bytes for one in unused))})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"{words} would be deleted at the provider; --yes deletes them")
    question = f"{words} will be deleted at the provider; no pending or active job needs them."
    return typer.confirm(talk.clean(f"{question} Go on?"), err=True)


def prune_lines(report: PruneReport) -> Iterator[str]:
    """How many went, how many are needed, and which stayed against our will."""
    yield f"deleted   {count(report.deleted, 'upload')}, {size(report.deleted_bytes)}"
    yield f"kept      {report.kept:,} that pending or active jobs need"
    if report.refused:
        yield f"left      {len(report.refused):,}: {report.refused[0]}"
