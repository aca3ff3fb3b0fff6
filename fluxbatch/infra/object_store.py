"""Object stores (S3, Google Cloud Storage, Azure) and files on https, through obstore.

Owns how they are asked and what their errors mean. Credentials are the environment's, as each
store's own tools read them. Needs the extra `objectstore`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import HTTPStore, ObjectStore

EXTRA = "pip install 'fluxbatch-engine[objectstore]'"

_YES = ("true", "1")
_TRIES = 3
_SILENCE_S = 20.0
_METADATA = "169.254.169.254"
"""Where machines of a cloud get credentials; asked last, where there are none elsewhere."""


def open_store(
    url: str,
    *,
    timeout_s: float,
    patience_s: float,
    silence_s: float = _SILENCE_S,
    tries: int = _TRIES,
    options: Mapping[str, str] | None = None,
) -> ObjectStore | HTTPStore:
    """The store, or the folder in it, at *url*; asks nobody yet.

    *timeout_s* is for one request, body included, of which *silence_s* may pass without a byte
    coming; it is repeated so many *tries*, until *patience_s* are over. *options* are the kind of
    store's own. Raises `ImportError` without the extra, `ValueError` or obstore's `BaseError` for
    a bad name.
    """
    from obstore.store import HTTPStore, from_url

    allows_http = url.startswith("http://") or os.environ.get("AWS_ALLOW_HTTP", "") in _YES
    asked: dict[str, Any] = {
        "client_options": {
            "allow_http": allows_http,
            "connect_timeout": "10s",
            "read_timeout": timedelta(seconds=silence_s),
            "timeout": timedelta(seconds=timeout_s),
        },
        "retry_config": {"max_retries": tries, "retry_timeout": timedelta(seconds=patience_s)},
    }
    if url.startswith("http"):
        return HTTPStore.from_url(url, **asked)
    asked["config"] = options
    store: ObjectStore = from_url(url, **asked)
    return store


def store_error_text(error: Exception) -> str:
    """What a store said, on one line and without its inner workings."""
    return " ".join(str(error).partition("Debug source")[0].split())[:300]


def is_denied(error: Exception) -> bool:
    """Whether the store answered that these credentials may not."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    return isinstance(error, (PermissionError, PermissionDeniedError, UnauthenticatedError))


def refusal_of(error: Exception) -> str | None:
    """Why nobody is let in, where that is the trouble."""
    if is_denied(error):
        return "the store's credentials, as the environment has them, do not allow it (403)"
    reason = store_error_text(error)
    if _METADATA in reason:
        return f"the environment has no credentials for its store ({reason[:120]}…)"
    return None
