"""The judge of a shared run: as any other, with several processes at once before it.

Owns what each process may end with, and that one of a run's processes alone is its last.
"""

from __future__ import annotations

from collections import Counter

from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import DatabaseFailed, ExitCode, FluxbatchError, HeldElsewhere
from tests.simulation.checks import Violation
from tests.simulation.judge import Judge
from tests.simulation.plan import KEYS, Invocation
from tests.simulation.shared.books import SharedAuditor

_ENDED = (ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.STOPPED, ExitCode.UNKNOWN_LEFT)


class SharedJudge(Judge):
    """Raises `Violation`."""

    unseen_s = 0.0
    """By so much the server's clock is set without anybody's taking notice."""
    _lasts: Counter[str]

    def _may_overshoot(self) -> bool:
        return super()._may_overshoot() or self._is_early_by_unseen_steps()

    def _is_early_by_unseen_steps(self) -> bool:
        """A create came too early into its window, and by no more than such steps make it."""
        window_s, creates = self._plan.window_s - self.unseen_s, self._plan.creates
        return self.unseen_s > 0 and all(
            later - earlier >= window_s
            for times in self._provider.arrivals.values()
            for earlier, later in zip(times, times[creates:], strict=False)
        )

    def round_begins(self, told: Invocation) -> None:
        self._caps = told.caps
        self._lasts = Counter()

    def process_ended(
        self, told: Invocation, auditor: SharedAuditor, summary: RunSummary | None,
        error: FluxbatchError | None,
    ) -> None:  # fmt: skip
        auditor.check()
        auditor.check_history()
        auditor.check_files(after_recovery=False)
        if isinstance(error, HeldElsewhere | DatabaseFailed):
            return  # others were told something else; or it was cut off before it had joined
        if error is not None:
            raise Violation(f"a process failed: {error!r}") from error
        if summary is None:
            return
        self._check_exit(told, auditor, summary)
        keys_fail = told.revoked is not None or any(name in told.faults for name in KEYS)
        if summary.exit_code is ExitCode.NO_KEY and not keys_fail:
            raise Violation(f"no key was refused, and the exit is 5: {summary.reason}")
        if summary.is_last and summary.exit_code in _ENDED:
            self._run_began = len(self._provider.ours())
            self._lasts[summary.run_id] += 1
            if self._lasts[summary.run_id] > 1:
                raise Violation(f"two processes ended run {summary.run_id}")
