"""Outputs to files: download, verify, name, store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxbatch.sink.batch import Asked, Broken, Stored
    from fluxbatch.sink.bucket_store import BucketStore
    from fluxbatch.sink.download import (
        BLOCK_BYTES,
        Fetcher,
        Gone,
        Pace,
        Take,
        Unfetched,
        open_fetcher,
    )
    from fluxbatch.sink.local_store import LocalStore
    from fluxbatch.sink.sink import Expired, Sink
    from fluxbatch.sink.store import Images, ImageStore
    from fluxbatch.sink.verify import ENDINGS

__all__ = [
    "BLOCK_BYTES",
    "ENDINGS",
    "Asked",
    "Broken",
    "BucketStore",
    "Expired",
    "Fetcher",
    "Gone",
    "ImageStore",
    "Images",
    "LocalStore",
    "Pace",
    "Sink",
    "Stored",
    "Take",
    "Unfetched",
    "open_fetcher",
]

_HOMES = {
    "BucketStore": "bucket_store",
    "ENDINGS": "verify",
    "Expired": "sink",
    "Sink": "sink",
    "ImageStore": "store",
    "Images": "store",
    "LocalStore": "local_store",
    "Asked": "batch",
    "Broken": "batch",
    "Stored": "batch",
}
"""Imported when first asked for: who only reads images needs neither aiohttp nor Pillow."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'download')}"), name)
    globals()[name] = value
    return value
