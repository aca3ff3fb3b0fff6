"""The tree of exceptions that fluxbatch raises on purpose, and the exit codes.

FluxbatchError
├── ConfigError            the run never started; exit code 2
│   └── ManifestError      the manifest cannot be used (carries the bad rows)
├── HeldElsewhere          another process holds the dataset or the key; exit code 6
├── ApiError               the provider answered badly or not at all
│   ├── TransientApiError  nothing was sent, or only read: safe to try again
│   │   ├── NotSent        no byte of a create left: no connection, or too late
│   │   ├── QuotaExceeded  429: our own accounting was wrong, or shared
│   │   ├── BalanceTooLow  402: wait for what runs to settle
│   │   └── KeyRefused     401, 403: this key is out, the job is not
│   ├── EndpointWrong      404 on create, 3xx: the run stops
│   ├── AmbiguousCreate    sent, outcome unknown: reconcile, never send again
│   ├── NotFound           404 on a read: perhaps a moment's delay, perhaps lost
│   └── RejectedRequest    will fail the same way for ever
├── LedgerError            the ledger cannot be opened, trusted or written
│   ├── DatabaseFailed     disk, server or lock: what waits on it is not written, the run stops
│   │   └── ServerRefuses  a standby, a password that is missing; exit code 2
│   └── IllegalTransition  a state was asked to do what the state tables forbid
└── SinkError              results cannot be made durable, so no more may be bought

The tree answers one question per level: stop the run, retry the call, or record a failed job?
Callers branch on class, never on message text.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Self


class ExitCode(IntEnum):
    """What the process says at its end. Source: docs/guide/exit-codes.md "Exit codes"."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    SOME_FAILED = 3
    STOPPED = 4
    NO_KEY = 5
    HELD = 6
    UNKNOWN_LEFT = 7
    MISMATCH = 8
    INTERRUPTED = 130
    TERMINATED = 143


class FluxbatchError(Exception):
    """Base class: catch this at the edge, nowhere else."""

    exit_code: ExitCode = ExitCode.ERROR


class ConfigError(FluxbatchError):
    """The run was refused before any money was spent."""

    exit_code = ExitCode.USAGE


class BadRow(NamedTuple):
    """Why one row of a manifest cannot become a job."""

    number: int
    """The row's ordinal in its manifest, from 1."""
    line: int
    """The line of the file it starts on, from 1; 0 for a cell of a sweep without a file."""
    field: str
    """The column or input at fault; empty when the row as a whole is."""
    reason: str
    """What is wrong, the value quoted, and what would be right."""

    def __str__(self) -> str:
        at = f"row {self.number} (line {self.line})" if self.line else f"row {self.number}"
        return f"{at}, {self.field}: {self.reason}" if self.field else f"{at}: {self.reason}"


_ROWS_IN_MESSAGE = 5


class ManifestError(ConfigError):
    """Rows of the manifest cannot become jobs; nothing was spent."""

    def __init__(
        self, message: str, bad_rows: Sequence[BadRow] = (), *, may_skip: bool = False
    ) -> None:
        super().__init__(message)
        self.may_skip = may_skip
        """Whether the others could be made without the bad rows."""
        self.message = message
        """Without the rows."""
        self.bad_rows = tuple(bad_rows)
        self.source, self.invalid, self.rows = "", len(self.bad_rows), 0
        """Of what, how many rows are bad, of how many; 0: nobody counted on."""

    @classmethod
    def of_rows(cls, source: str, invalid: int, rows: int, bad_rows: Sequence[BadRow]) -> Self:
        """Some rows of *source*, read to the end; the others could be made without them."""
        words = f"{invalid:,} of {rows:,} rows of {source} cannot become jobs; nothing was spent"
        error = cls(words, bad_rows, may_skip=True)
        error.source, error.invalid, error.rows = source, invalid, rows
        return error

    def __str__(self) -> str:
        """The message and the first of the rows, for whoever prints no more than this."""
        shown = "".join(f"\n  {bad}" for bad in self.bad_rows[:_ROWS_IN_MESSAGE])
        more = len(self.bad_rows) - _ROWS_IN_MESSAGE
        return f"{self.message}{shown}" + (f"\n  … and {more:,} more" if more > 0 else "")


class HeldElsewhere(FluxbatchError):
    """Another process holds what this one needs."""

    exit_code = ExitCode.HELD


class ApiError(FluxbatchError):
    """The provider failed us; `status` is None if it never answered."""

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class TransientApiError(ApiError):
    """Trying again later may work."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.retry_after_s = retry_after_s


class NotSent(TransientApiError):
    """A create that certainly never left: no connection, or later than its `send_by`."""


class HeldBack(NotSent):
    """A create that was ready to leave when the run was paused."""


class QuotaExceeded(TransientApiError):
    """The provider says we are over a limit, whatever our own count says."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        by_concurrency: bool = False,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, retry_after_s=retry_after_s)
        self.by_concurrency = by_concurrency


class BalanceTooLow(TransientApiError):
    """Nothing was created or billed; the balance does not cover one more in flight."""


class KeyRefused(TransientApiError):
    """This key is out; the job goes back to pending."""


class EndpointWrong(ApiError):
    """Every create would fail the same way; the run stops."""


class AmbiguousCreate(ApiError):
    """A create left us and its outcome is unknown; it may have been billed."""


class NotFound(ApiError):
    """The provider does not know this prediction (yet, with this key)."""


class RejectedRequest(ApiError):
    """The same request will be rejected every time; never retry it."""


class LedgerError(FluxbatchError):
    """The ledger cannot be opened, trusted or written."""


class DatabaseFailed(LedgerError):
    """The database itself failed: nothing more is asked of this connection."""


class ServerRefuses(DatabaseFailed):
    """The server is there, and lets nobody in like this: who was at work waits until it does."""

    exit_code = ExitCode.USAGE


class TransactionConflict(DatabaseFailed):
    """The server undid a transaction in favour of another one: it may be tried again as it was."""


class IllegalTransition(LedgerError):
    """A state table has no such cell: a bug, never an outcome."""


class SinkError(FluxbatchError):
    """A result could not be made durable, so no more may be submitted."""
