"""The number or share of jobs that may fail (`--max-failures`), and the likeness of failures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ConfigError

LEAST_ENDED = 20
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
        return self.share is not None and ended >= LEAST_ENDED and failed > self.share * ended

    def __str__(self) -> str:
        return f"{self.jobs}" if self.jobs is not None else f"{(self.share or 0) * 100:g}%"


def failures_alike(failure: FailureClass, reason: str) -> str:
    """The same text for failures that differ in ids and numbers alone."""
    return f"{failure}: " + re.sub(r"[0-9a-f-]{8,}|\d+", "#", reason.lower())
