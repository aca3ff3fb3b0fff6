"""A clock that several machines share: a server's, carried on by this machine's boot clock.

Owns the step from this machine's seconds since boot to the server's. The server is asked now and
then; in between nothing but seconds is taken from this machine, whose wall clock may be wrong by
years. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fluxbatch.infra.runtime import Clock, Timestamp

STEP_S = 1.0
"""A difference beyond this, and beyond what the question took, is a step of the server's clock."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SharedClock:
    """The clock of all records of a shared ledger; intervals within this process stay its own."""

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._offset_s = 0.0
        self._began_s = 0.0
        self._boot_id = ""

    @property
    def boot_id(self) -> str:
        """Of the server's generation; empty before the server was asked."""
        return self._boot_id

    @property
    def machine(self) -> str:
        """This machine, in this boot of its own."""
        return self._local.now().boot_id

    @property
    def offset_s(self) -> float:
        """The server's seconds since 1970 less this machine's seconds since boot."""
        return self._offset_s

    def monotonic(self) -> float:
        return self._local.monotonic()

    def now(self) -> Timestamp:
        server_s = self._local.now().boot_s + self._offset_s
        utc = _EPOCH + timedelta(seconds=server_s)
        return Timestamp(utc, self._boot_id, server_s - self._began_s)

    def asked(self) -> float:
        """This machine's seconds since boot, before and after the server is asked."""
        return self._local.now().boot_s

    def recall(self, offset_s: float, boot_id: str) -> None:
        """Another process of this machine saw the server's clock so, before this one asked."""
        self._offset_s, self._boot_id = offset_s, boot_id

    def has_stepped(self, asked_s: float, answered_s: float, server_s: float) -> bool:
        """Whether the server's clock was set since it was last asked."""
        if not self._boot_id:
            return False
        expected_s = (asked_s + answered_s) / 2 + self._offset_s
        return abs(server_s - expected_s) > STEP_S + (answered_s - asked_s) / 2

    def set(
        self, asked_s: float, answered_s: float, server_s: float, began_s: float, boot_id: str
    ) -> None:
        """The server said *server_s*, seconds since 1970, between the two moments."""
        self._offset_s = server_s - (asked_s + answered_s) / 2
        self._began_s = began_s
        self._boot_id = boot_id
