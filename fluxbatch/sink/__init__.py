"""Outputs to files: download, verify, name, store."""

from fluxbatch.sink.fetch import BLOCK_BYTES, Fetcher, Gone, Pace, Take, Unfetched, open_fetcher
from fluxbatch.sink.image import ENDINGS
from fluxbatch.sink.sink import Expired, Sink
from fluxbatch.sink.store import LocalStore
from fluxbatch.sink.stow import Asked, Broken, Stored

__all__ = [
    "BLOCK_BYTES",
    "ENDINGS",
    "Asked",
    "Broken",
    "Expired",
    "Fetcher",
    "Gone",
    "LocalStore",
    "Pace",
    "Sink",
    "Stored",
    "Take",
    "Unfetched",
    "open_fetcher",
]
