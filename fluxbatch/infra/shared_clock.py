"""A clock that several machines share: a server's, carried on by this machine's boot clock.

Owns the step from this machine's seconds since boot to the server's. The server is asked now and
then; in between nothing but seconds is taken from this machine, whose wall clock may be wrong by
years. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fluxbatch.infra.runtime import Clock, Timestamp

STEP_S = 0.1
"""A difference beyond this, and beyond what the questions took, is a step of the server's clock."""
_DRIFT = 1e-4
"""By how much it may run apart from this machine's, as a part of the time that has passed."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SharedClock:
    """The clock of all records of a shared ledger; intervals within this process stay its own."""

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._offset_s = 0.0
        self._low_s = self._high_s = 0.0
        """Between which the offset lay when it was known best in this generation."""
        self._known_at_s = 0.0
        """When that was, by this machine's boot clock."""
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
        self._low_s = self._high_s = offset_s
        self._known_at_s = self.asked()

    def has_stepped(self, asked_s: float, answered_s: float, server_s: float) -> bool:
        """Whether the server's clock was set since it was last asked."""
        if not self._boot_id:
            return False
        slack_s = STEP_S + self._drift_s(asked_s)
        is_behind = server_s - asked_s < self._low_s - slack_s
        return is_behind or server_s - answered_s > self._high_s + slack_s

    def _drift_s(self, at_s: float) -> float:
        return _DRIFT * max(0.0, at_s - self._known_at_s)

    def set(
        self, asked_s: float, answered_s: float, server_s: float, began_s: float, boot_id: str
    ) -> None:
        """The server said *server_s*, seconds since 1970, between the two moments."""
        self._offset_s = server_s - (asked_s + answered_s) / 2
        self._began_s = began_s
        low_s, high_s = server_s - answered_s, server_s - asked_s
        if boot_id == self._boot_id:
            drift_s = self._drift_s(asked_s)
            low_s, high_s = max(low_s, self._low_s - drift_s), min(high_s, self._high_s + drift_s)
        if low_s <= high_s:  # else it is slewed: not followed, or many small steps were none
            self._low_s, self._high_s, self._known_at_s = low_s, high_s, asked_s
        self._boot_id = boot_id
