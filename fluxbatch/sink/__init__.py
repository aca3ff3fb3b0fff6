"""Outputs to files: download, verify, name, store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxbatch.sink.bucket import BucketStore
    from fluxbatch.sink.fetch import BLOCK_BYTES, Fetcher, Gone, Pace, Take, Unfetched, open_fetcher
    from fluxbatch.sink.image import ENDINGS
    from fluxbatch.sink.sink import Expired, Sink
    from fluxbatch.sink.store import Images, ImageStore, LocalStore
    from fluxbatch.sink.stow import Asked, Broken, Stored

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
    "BucketStore": "bucket",
    "ENDINGS": "image",
    "Expired": "sink",
    "Sink": "sink",
    "ImageStore": "store",
    "Images": "store",
    "LocalStore": "store",
    "Asked": "stow",
    "Broken": "stow",
    "Stored": "stow",
}
"""Imported when first asked for: who only reads images needs neither aiohttp nor Pillow."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'fetch')}"), name)
    globals()[name] = value
    return value
