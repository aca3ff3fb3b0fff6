"""Signed URLs: a path, an end and a signature over both.

The same for presigned uploads and for outputs. Times are UNIX seconds of the provider.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


class Signer:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def query(self, path: str, expires_at: float) -> str:
        """The query string that opens *path* until *expires_at*."""
        return f"expires={expires_at:.3f}&signature={self._signature(path, f'{expires_at:.3f}')}"

    def refusal(self, path: str, query: Mapping[str, str], now: float) -> str | None:
        """Why a URL does not open; None if it does."""
        expires = query.get("expires", "")
        expected = self._signature(path, expires)
        if not hmac.compare_digest(expected, query.get("signature", "")):
            return "SignatureDoesNotMatch"
        return "Request has expired" if float(expires) < now else None

    def _signature(self, path: str, expires: str) -> str:
        text = f"{path}?{expires}".encode()
        return hashlib.blake2b(text, key=self._secret, digest_size=16).hexdigest()
