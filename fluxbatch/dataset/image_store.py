"""The image store of a dataset, as recorded in its ledger.

Owns which store that is. A run names it and the ledger remembers; everyone else goes by the
ledger alone, so that a dataset is found whole without its config.
"""

from __future__ import annotations

from contextlib import suppress

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.image_location import KeepImagesAt, check_image_store, image_store
from fluxbatch.ledger.queries.recovery import dataset_id, unfinished_outputs
from fluxbatch.sink import BucketStore, FolderStore, ImageStore, LocalStore

_TIMEOUT_S = 60.0


def open_images(folder: Folder, db: Database, *, timeout_s: float = _TIMEOUT_S) -> ImageStore:
    """Where the dataset's images are; nobody is asked yet."""
    return _store(folder, image_store(db), timeout_s, is_claimed=True)


def claim_images(folder: Folder, db: Database, url: str | None, *, timeout_s: float) -> ImageStore:
    """Where a run that names *url* stores images; it takes them now, and the ledger knows it.

    Raises `ConfigError` where the dataset's images, or another's, say otherwise; `SinkError` where
    the store does not let us in.
    """
    from fluxbatch.ledger.writer import commit  # who only looks at images writes nothing

    is_news = check_image_store(db, url)
    if url is None and folder.is_shared:
        raise ConfigError(
            "a dataset in PostgreSQL has no folder for its images: name a place that every machine"
            " sees (sink.store: s3://BUCKET/PREFIX or file:///FOLDER)"
        )
    store = _store(folder, url, timeout_s, is_claimed=not is_news)
    store.claim(dataset_id(db))
    if is_news:
        _leave(open_images(folder, db, timeout_s=timeout_s), db)
        commit(db, KeepImagesAt(url))
    return store


def _leave(store: ImageStore, db: Database) -> None:
    """Nothing of ours stays where images were to be: what a crash left there without a ledger
    entry is fetched again elsewhere."""
    with suppress(SinkError):  # perhaps it is left because it does not answer
        for one in unfinished_outputs(db):
            store.discard(one.stem)


def _store(folder: Folder, url: str | None, timeout_s: float, *, is_claimed: bool) -> ImageStore:
    if url is None:
        return LocalStore(folder.root)
    from fluxbatch.config.endpoints import store_address  # most images lie in their folder

    try:
        address = store_address(url)
        if not address.startswith("file:"):
            return BucketStore(address, folder.root, timeout_s)
    except ValueError as exc:  # a ledger may be a stranger's
        raise ConfigError(f"the dataset's images are at no place that can be used: {exc}") from None
    if not folder.is_shared:  # a stranger's dataset could name any folder of this machine
        raise ConfigError(
            f"{address!r} is for datasets in PostgreSQL; the images of a folder's dataset are in it"
        )
    return FolderStore(address, is_claimed=is_claimed)
