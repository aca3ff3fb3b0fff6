"""The paths of images as a ledger names them, and where they lead.

Owns the one rule of which of them may be followed: relative, below `images/`, through no link
that leads out of the dataset. A ledger may be a stranger's, or damaged; what it says is no order
to open that file. Opens and changes nothing.
"""

from __future__ import annotations

import errno
import os

from fluxbatch.domain.filenames import IMAGES
from fluxbatch.errors import ConfigError, SinkError


class PathRefused(PermissionError):
    """A ledger's path that is none of an image of its dataset."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EACCES, why, path)


def image_path(path: str) -> str:
    """*path* where it is one below `images/`, as a ledger may name it; raise `PathRefused` else."""
    head, *parts = path.split("/")
    if head != IMAGES or not parts or {"", ".", ".."} & set(parts) or "\0" in path:
        raise PathRefused(path, f"the ledger names it, and it is not in {IMAGES}/")
    return path


def written_path(path: str) -> str:
    """*path*, to be written; raise `SinkError` where it is none of an image."""
    try:
        return image_path(path)
    except PathRefused as exc:
        raise SinkError(f"cannot write {path!r}: {exc.strerror}") from exc


def resolved(root: str, path: str) -> str:
    """Where a ledger's *path* is below the dataset *root*; raise `PathRefused`.

    A link that stays within the dataset may be read (git-annex leaves such).
    """
    place = f"{root}/{image_path(path)}"
    if not os.path.realpath(place).startswith(f"{_real(root)}/"):
        raise PathRefused(path, "a link leads out of the dataset")
    return place


def leads_elsewhere(root: str, folder: str) -> bool:
    """Whether a link is on the way from *root* to *folder*, which is below it."""
    return os.path.realpath(folder) != f"{_real(root)}{folder.removeprefix(root)}"


def refuse_elsewhere(root: str, folder: str) -> None:
    """Raise `SinkError` where *folder* below *root* is reached through a link."""
    if leads_elsewhere(root, folder):
        raise SinkError(
            f"cannot write in {folder!r}: it is a link, or in one; put the folder itself there"
        )


def refuse_link(place: str) -> None:
    """Raise `ConfigError` where what is to be the dataset's own is a link."""
    if os.path.islink(place):
        raise ConfigError(
            f"{place!r} is a link; what a dataset keeps is in its folder: put the thing itself"
            " there, or link to the whole dataset"
        )


def refuse_links_in(folder: str) -> None:
    """Raise `ConfigError` where *folder*, which we are about to fill, or anything in it is a
    link: what is written there would land elsewhere."""
    refuse_link(folder)
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            refuse_link(f"{place}/{name}")


def _real(root: str) -> str:
    return os.path.realpath(root).rstrip("/")
