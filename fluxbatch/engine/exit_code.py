"""The exit code of a run, decided in one place.

Owns which reason wins where several hold, but for several that stopped the run: those have their
order in `worker.stop`. Pure: takes what stopped the run and how its jobs
stand. Source: docs/design/protocol.md 6, docs/guide/exit-codes.md "Exit codes".
"""

from __future__ import annotations

from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.queries.totals import JobCounts


def decide_exit(
    jobs: JobCounts,
    stopped: ExitCode | None,
    reason: str,
    starved_by: str | None,
    *,
    has_left: bool = False,
) -> tuple[ExitCode, str]:
    """The code and its reason.

    *jobs* are those of the run's manifest, *stopped* and *reason* what told the run to submit no
    more, *starved_by* the cap that left the queue waiting, *has_left* that predictions were left
    running because the time was up.
    """
    left = jobs.total - jobs.of(JobState.DONE) - jobs.of(JobState.FAILED)
    if stopped is ExitCode.ERROR or (
        left and stopped in {ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.NO_KEY}
    ):
        return stopped, reason
    if left and stopped is not None and has_left:
        return stopped, reason
    if jobs.of(JobState.ACTIVE) > jobs.unknown:
        return ExitCode.NO_KEY, "predictions run that no key may ask about"
    if jobs.unknown:
        return ExitCode.UNKNOWN_LEFT, f"the outcome of {jobs.unknown} creates is unknown"
    if left and stopped is not None:
        return stopped, reason
    if left and starved_by is not None:
        return ExitCode.STOPPED, starved_by
    if left:
        return ExitCode.ERROR, f"{left} jobs were left without a reason; run again"
    if jobs.of(JobState.FAILED) or jobs.invalid:
        return ExitCode.SOME_FAILED, "some jobs failed"
    return ExitCode.DONE, "every job is done"
