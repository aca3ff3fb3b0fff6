"""Outputs to files: download, verify, name, store."""

from fluxbatch.sink.bucket import BucketStore
from fluxbatch.sink.fetch import BLOCK_BYTES, Fetcher, Gone, Pace, Take, Unfetched, open_fetcher
from fluxbatch.sink.sink import Expired, Sink
from fluxbatch.sink.store import Images, ImageStore, LocalStore
from fluxbatch.sink.stow import Broken, Stored

__all__ = [
    "BLOCK_BYTES",
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
