"""The output of `retry`: what it put back, what it left, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TypeVar

from fluxbatch.cli.render.text import count
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.operations.retry import PAID_ALREADY, Retried
from fluxbatch.ledger.operations.retry_quality import Reseeded

W = TypeVar("W", bound=StrEnum)


def parse_kinds(names: Sequence[str]) -> tuple[FailureClass, ...]:
    """The classes *names* are; raise `ConfigError` with those there are."""
    return _parsed(FailureClass, "--kind", names)


def parse_notes(names: Sequence[str]) -> tuple[Quality, ...]:
    """The notes *names* are; raise `ConfigError` with those there are."""
    return _parsed(Quality, "--quality", names)


def _parsed(words: type[W], option: str, names: Sequence[str]) -> tuple[W, ...]:
    for name in names:
        if name not in list(words):
            raise ConfigError(f"{option} {name!r}: there are {', '.join(words)}")
    return tuple(words(name) for name in names)


def retry_lines(retried: Retried, folder: Folder) -> Iterator[str]:
    """How many went back, and why the others stayed."""
    yield f"{count(retried.jobs, 'failed job')} back to pending"
    for failure, jobs in retried.kept.items():
        if failure in PAID_ALREADY:
            why = (
                f"paid already; `fluxbatch repair {folder.typed}` fetches them for nothing,"
                f" `--kind {failure}` buys them again"
            )
        else:
            why = (
                "their predictions may still be alive, and would be paid twice;"
                f" `fluxbatch reconcile {folder.typed}` reads them again"
            )
        yield f"  {jobs:,} {failure} left alone: {why}"
    if retried.jobs:
        yield _next(folder)


def retry_quality_lines(reseeded: Reseeded, folder: Folder) -> Iterator[str]:
    """How many are made anew, and why the others stayed."""
    yield f"{count(reseeded.jobs, 'done job')} back to pending, each for an image of another seed"
    if reseeded.jobs:
        yield "  the images that are there stay, as earlier editions"
    if reseeded.seeded:
        yield (
            f"  {reseeded.seeded:,} left alone: their rows give the seed, which would make the same"
            " image again; change it in the manifest"
        )
    if reseeded.alive:
        yield (
            f"  {reseeded.alive:,} left alone: another prediction of theirs may still be alive;"
            f" `fluxbatch reconcile {folder.typed}` reads it again"
        )
    if reseeded.jobs:
        yield _next(folder)


def _next(folder: Folder) -> str:
    return (
        f"next: the same `fluxbatch run … --out {folder.typed}` buys them again;"
        f" `fluxbatch plan … --out {folder.typed}` says for how much"
    )
