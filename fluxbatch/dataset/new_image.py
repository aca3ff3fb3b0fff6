"""A newly stored image, as hooks are handed it.

Owns what a hook may know: where the image is, what it says of itself, and its bytes. The ledger is
read once for each image, and never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.provenance import image_metadata
from fluxbatch.ledger.queries.lookup import output_at
from fluxbatch.ledger.queries.provenance import edition_of, provenance_of, stored_images


@dataclass(frozen=True, slots=True)
class NewImage:
    """One image that is stored and in the ledger."""

    dataset: Path
    """The dataset's folder; of a dataset in PostgreSQL, the one on this machine."""
    path: str
    """As in the ledger: relative to the dataset, or to its object store."""
    place: str
    """Where it is: a path, or a URL in an object store."""
    file: Path | None
    """The image on this machine; None in an object store."""
    facts: Mapping[str, Any]
    """As a sidecar has them: `prompt`, `seed`, `model`, `input`, `row`, `job`, `sha256`, `mime`,
    `width`, `height` and more. What is not known is left out."""

    _of: Folder = field(repr=False, compare=False)

    def read(self) -> bytes:
        """Its bytes, wherever it is. Raises `OSError` or `SinkError` where it cannot be read."""
        with self._of.reader() as db:
            images = open_images(self._of, db)
        with images.open(self.path) as file:
            return file.read()


def new_image(folder: Folder, path: str) -> NewImage | None:
    """The image at the ledger's *path*; None where it is stored no more."""
    with folder.reader() as db:
        images = open_images(folder, db)
        found = output_at(db, path)
        stored = stored_images(db, found[1] - 1, 1) if found is not None else []
        if not stored or stored[0].path != path:
            return None
        one = stored[0]
        made = provenance_of(db, one.prediction_seq, edition_of(db, one.prediction_seq))
        facts = image_metadata(made, one.number, one.image)
    return NewImage(folder.root, path, images.place(path), images.file(path), facts, folder)
