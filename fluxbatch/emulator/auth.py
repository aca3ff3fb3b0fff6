"""The API keys of the provider: which are valid, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable


class Authenticator:
    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        self.revoked: set[str] = set()
        self._accounts = dict(keys)

    def account_of(self, key: str | None) -> str | None:
        """The account a valid key belongs to; without a list of keys every key is valid."""
        if key is None or key in self.revoked:
            return None
        return self._accounts.get(key) if self._accounts else key
