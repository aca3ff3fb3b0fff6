"""Outputs to files: download, verify, name, store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxbatch.sink.aside import Aside
    from fluxbatch.sink.batch import OutputRef, RejectedOutput, Stored
    from fluxbatch.sink.bucket_store import BucketStore
    from fluxbatch.sink.download import (
        BLOCK_BYTES,
        DownloadFailed,
        DownloadPace,
        Fetcher,
        OnBlock,
        UrlExpired,
        open_fetcher,
    )
    from fluxbatch.sink.folder_store import FolderStore
    from fluxbatch.sink.local_store import LocalStore
    from fluxbatch.sink.paths import PathRefused, image_path, refuse_link, refuse_links_in
    from fluxbatch.sink.sink import OutputExpired, Sink
    from fluxbatch.sink.store import Images, ImageStore
    from fluxbatch.sink.verify import ENDINGS

__all__ = [
    "BLOCK_BYTES",
    "ENDINGS",
    "Aside",
    "BucketStore",
    "DownloadFailed",
    "DownloadPace",
    "Fetcher",
    "FolderStore",
    "ImageStore",
    "Images",
    "LocalStore",
    "OnBlock",
    "OutputExpired",
    "OutputRef",
    "PathRefused",
    "RejectedOutput",
    "Sink",
    "Stored",
    "UrlExpired",
    "image_path",
    "open_fetcher",
    "refuse_link",
    "refuse_links_in",
]

_HOMES = {
    "Aside": "aside",
    "BucketStore": "bucket_store",
    "ENDINGS": "verify",
    "PathRefused": "paths",
    "image_path": "paths",
    "refuse_link": "paths",
    "refuse_links_in": "paths",
    "OutputExpired": "sink",
    "Sink": "sink",
    "ImageStore": "store",
    "Images": "store",
    "FolderStore": "folder_store",
    "LocalStore": "local_store",
    "OutputRef": "batch",
    "RejectedOutput": "batch",
    "Stored": "batch",
}
"""Imported when first asked for: who only reads images needs neither aiohttp nor Pillow."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'download')}"), name)
    globals()[name] = value
    return value
