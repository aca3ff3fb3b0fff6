"""The status of a run as values, for the terminal, `--json` and the Python API.

Owns the fields that people and programs are shown. Filled from the ledger's sums and, while
a run goes on, from its lanes; never counted along the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import Balance, as_usd
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.queries.runs_and_failures import FailedJob
from fluxbatch.ledger.queries.totals import JobCounts, Totals
from fluxbatch.scheduler.lane import Lane


def lane_status(lane: Lane, now: float) -> LaneStatus:
    """*lane* at the monotonic time *now*, as its own run sees it."""
    return LaneStatus(
        lane.label,
        lane.held,
        lane.slots.limit,
        lane.window.in_use(now),
        lane.creates.limit,
        lane.window.window_s,
        lane.health(now),
    )


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at this moment."""

    run_id: str
    elapsed_s: float
    """Of this invocation."""
    jobs: JobCounts
    run: Totals
    dataset: Totals
    budgets: tuple[Balance, ...]
    """The caps a create counts against now."""
    lanes: tuple[LaneStatus, ...]
    done_before: int
    """Jobs that were done when this invocation began."""
    stopping: str
    """Why nothing more is bought; empty while buying."""
    failures: tuple[FailedJob, ...] = ()
    """The latest, in whichever run; the newest at the end."""
    waits: str = ""
    """Why nothing is created though jobs wait, where that is out of the ordinary."""
    is_paused: bool = False
    """By `fluxbatch ctl`: nothing leaves until it is resumed."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How an invocation of `run` ended."""

    run_id: str
    exit_code: ExitCode
    reason: str
    continued: bool
    jobs: JobCounts
    run: Totals
    dataset: Totals
    seconds: float
    is_last: bool = True
    """This process ended the run; others that shared it tell nobody else of it."""
    html_view: Callable[[RunSummary], str] | None = field(default=None, repr=False, compare=False)
    """How a notebook shows it."""

    def _repr_html_(self) -> str | None:
        return self.html_view(self) if self.html_view is not None else None

    def told_by_another(self) -> Self:
        """The same, where another process is the last."""
        return replace(self, is_last=False)

    def as_json(self) -> dict[str, object]:
        """The last line of `run --json`. Source: docs/design/decisions.md "Command line"."""
        jobs = self.jobs
        done, failed = jobs.of(JobState.DONE), jobs.of(JobState.FAILED) + jobs.invalid
        total = jobs.total + jobs.invalid
        return {
            "run_id": self.run_id,
            "exit": int(self.exit_code),
            "jobs": {
                "total": total,
                "done": done,
                "failed": failed,
                "pending": total - done - failed - jobs.unknown,
                "unknown": jobs.unknown,
            },
            "images": self.dataset.images,
            "cost_usd": {
                "run": as_usd(self.run.spent),
                "dataset": as_usd(self.dataset.spent),
                "at_risk": as_usd(self.dataset.at_risk),
            },
            "seconds": round(self.seconds, 3),
        }
