"""The error of a control image elsewhere that cannot be fetched."""

from __future__ import annotations

CONTROL_BLOCK_BYTES = 1024 * 1024


class Unreadable(Exception):
    """An object that cannot be had; says why."""

    def __init__(self, reason: str, *, is_its_own: bool) -> None:
        super().__init__(reason)
        self.is_its_own = is_its_own
        """Its server answered, so others there may well be readable."""
