"""The circuit breaker: the failures that stop a run.

Owns two judgements: too many failed jobs (`--max-failures`), and the same failure over
and over with no success in between (the circuit breaker). Both stop creates and
nothing else; what runs is finished.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.worker.stop import Stop

_LEAST_ENDED = 20
"""Before so many jobs have ended a share of them says nothing."""


@dataclass(frozen=True, slots=True)
class FailureCap:
    """How many jobs may fail: a number, or a share of those that ended in this invocation."""

    jobs: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureCap:
        """Read `50` or `5%`; raise `ConfigError`."""
        plain = text.strip()
        number = plain.removesuffix("%")
        if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", number, re.ASCII):
            if plain != number and float(number) <= 100:
                return cls(share=float(number) / 100)
            if plain == number and number.isdigit():
                return cls(jobs=int(number))
        raise ConfigError(
            f"--max-failures: {text!r} is neither a number nor a share; write 50 or 5%"
        )

    def is_passed(self, failed: int, ended: int) -> bool:
        if self.jobs is not None:
            return failed > self.jobs
        return self.share is not None and ended >= _LEAST_ENDED and failed > self.share * ended

    def __str__(self) -> str:
        return f"{self.jobs}" if self.jobs is not None else f"{(self.share or 0) * 100:g}%"


class CircuitBreaker:
    """Watches how predictions and jobs of one invocation end."""

    def __init__(self, stop: Stop, cap: FailureCap | None, identical: int) -> None:
        self._stop = stop
        self._cap = cap
        self._identical = identical
        self._failed = 0
        self._ended = 0
        self._same: tuple[FailureClass, str] | None = None
        self._in_a_row = 0

    def attempt_failed(self, failure: FailureClass, reason: str) -> None:
        """A prediction ended without a result."""
        kind = (failure, re.sub(r"[0-9a-f-]{8,}|\d+", "#", reason.lower()))
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
