"""Object stores (S3, Google Cloud Storage) and files on https, through obstore.

Owns how they are asked and what their errors are called. Credentials are the environment's, as
each store's own tools read them. Needs the extra `objectstore`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import HTTPStore, ObjectStore

EXTRA = "pip install 'fluxbatch[objectstore]' to fetch it"
BLOCK_BYTES = 1024 * 1024
_YES = ("true", "1")
_TRIES = 3
_SILENCE = "20s"


class Unreadable(Exception):
    """An object that cannot be had; says why."""

    def __init__(self, reason: str, *, is_its_own: bool) -> None:
        super().__init__(reason)
        self.is_its_own = is_its_own
        """Its server answered, so others there may well be readable."""


def open_store(url: str, *, timeout: str, patience_s: float) -> ObjectStore | HTTPStore:
    """The store, or the folder in it, at *url*; asks nobody yet.

    *timeout* is for one request, body included (`30s`, `1h`); tries are over after *patience_s*.
    Raises `ImportError` without the extra, `ValueError` or obstore's `BaseError` for a bad name.
    """
    from obstore.store import HTTPStore, from_url

    allows_http = url.startswith("http://") or os.environ.get("AWS_ALLOW_HTTP", "") in _YES
    open_it = HTTPStore.from_url if url.startswith("http") else from_url
    return open_it(
        url,
        client_options={
            "allow_http": allows_http,
            "connect_timeout": "10s",
            "read_timeout": _SILENCE,
            "timeout": timeout,
        },
        retry_config={"max_retries": _TRIES, "retry_timeout": timedelta(seconds=patience_s)},
    )


def reason_of(error: Exception) -> str:
    """What a store said, on one line and without its inner workings."""
    return " ".join(str(error).partition("Debug source")[0].split())[:300]
