"""The store of a dataset's ratings: a file in its folder, or a table of its database.

Owns which of them a dataset has. Source: docs/guide/live-page.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import ImageRating, RatingChange, RatingFile
from fluxbatch.ledger.db.database import Database


class Ratings(Protocol):
    """The ratings of one dataset, wherever they lie."""

    def revision(self, db: Database, /) -> int:
        """Another number after every change, from whatever process; *db* is the dataset's."""
        ...

    def read(self) -> dict[str, ImageRating]: ...

    def rate(self, images: Iterable[str], change: RatingChange, who: str = "") -> int: ...

    def undo(self) -> list[str]: ...


def ratings_in(folder: Folder) -> Ratings:
    """Where the ratings of that dataset lie."""
    if not folder.is_shared:
        return RatingFile(folder)
    from fluxbatch.dataset.shared_dataset import SharedDataset  # most datasets are folders
    from fluxbatch.dataset.shared_ratings import SharedRatings

    assert isinstance(folder, SharedDataset)
    return SharedRatings(folder)


def ratings_of(folder: Folder) -> Mapping[str, ImageRating]:
    """By the sha256 of an image."""
    return ratings_in(folder).read()
