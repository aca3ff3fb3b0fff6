"""The circuit breaker: the failures that stop a run.

Owns two judgements: too many failed jobs (`--max-failures`), and the same failure over
and over with no success in between (the circuit breaker). Both stop creates and
nothing else; what runs is finished. Where processes share a run, their ledger counts for
all of them (`ledger.sharing.failures`), and this has neither cap.
"""

from __future__ import annotations

from fluxbatch.domain.failure_cap import FailureCap, failures_alike
from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ExitCode
from fluxbatch.worker.stop import Stop


class CircuitBreaker:
    """Watches how predictions and jobs of one invocation end."""

    def __init__(self, stop: Stop, cap: FailureCap | None, identical: int | None) -> None:
        self._stop = stop
        self._cap = cap
        self._identical = identical
        self._failed = 0
        self._ended = 0
        self._same: str | None = None
        self._in_a_row = 0

    def attempt_failed(self, failure: FailureClass, reason: str) -> None:
        """A prediction ended without a result."""
        kind = failures_alike(failure, reason)
        self._in_a_row = self._in_a_row + 1 if kind == self._same else 1
        self._same = kind
        if self._in_a_row == self._identical:
            self._stop(
                ExitCode.STOPPED,
                f"{self._in_a_row} predictions in a row failed alike ({failure}: {reason})",
            )

    def attempt_succeeded(self) -> None:
        self._same, self._in_a_row = None, 0

    def job_ended(self, *, failed: bool) -> None:
        """A job reached an end."""
        self._ended += 1
        self._failed += failed
        cap = self._cap
        if failed and cap is not None and cap.is_passed(self._failed, self._ended):
            self._stop(
                ExitCode.STOPPED,
                f"{self._failed} of {self._ended} jobs failed, more than --max-failures {cap}",
            )
