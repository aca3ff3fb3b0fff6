"""Mistakes planted in what processes share: the simulation catches each within a few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine import shared_run
from fluxbatch.infra.shared_clock import SharedClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import intents
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.recovery import LivePrediction
from fluxbatch.ledger.sharing.shared_runs import LeaveRun
from fluxbatch.worker.recover import Recovery
from tests.simulation.checks import Violation
from tests.simulation.life import Doom
from tests.simulation.plan import Invocation, Plan
from tests.simulation.shared.plan import OneLife, Round, Seat, SharedPlan, shared_plan
from tests.simulation.shared.running import run_plan

_ROWS = [
    {"prompt": f"pier {n}", "control_image": "https://example.com/d.png", "output_format": "png"}
    for n in range(6)
]


def _plan(
    *lives: OneLife, steps: Sequence[tuple[float, float]] = (),
    **changes: Any,
) -> SharedPlan:  # fmt: skip
    options: dict[str, Any] = {
        "concurrent": 2, "lag_s": 10.0, "timeout_s": 5.0, "duration_s": 3.0, **changes
    }  # fmt: skip
    base = Plan(seed=1, rows=(_ROWS,), invocations=(), **options)
    return shared_plan(base, Round(Invocation(), [Seat([o]) for o in lives], steps=steps))


_RUN_OUT = [
    _plan(OneLife(), OneLife(), concurrent=1, steps=[(6.0 * number, 20.0) for number in range(5)])
]
"""The server's clock is set ahead, so that a lease has run out which nobody has lost yet."""
_KILLED = [
    _plan(OneLife(doom=Doom("wire: answered POST", number)), OneLife(pause_s=1.0))
    for number in (1, 2)
]
"""A process dies between an answer and its commit."""
_SET_AHEAD = [
    _plan(
        OneLife(doom=Doom(at_s=4.0)), OneLife(pause_s=1.0), creates=3, window_s=30.0,
        steps=[(4.5, 100.0)],
    )
]  # fmt: skip
"""The server's clock is set ahead when a window is full, and another process takes the lane."""
_TOGETHER = [_plan(OneLife(), OneLife())]


@pytest.mark.parametrize("plans", [_RUN_OUT, _KILLED, _SET_AHEAD, _TOGETHER])
def test_without_a_mistake_nothing_is_caught(plans: Sequence[SharedPlan]) -> None:
    for plan in plans:
        run_plan(plan)


def _play(plans: Sequence[SharedPlan]) -> None:
    for plan in plans:
        run_plan(plan)


def test_an_intent_that_does_not_ask_for_its_lease_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intents, "refusal_of_intent", lambda *_args, **_more: None)

    with pytest.raises(Violation, match="wrote an intent"):
        _play(_RUN_OUT)


def test_taking_an_older_holders_unanswered_intents_for_absent_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    They may have left, and been made.
    """

    async def hasty(recovery: Recovery, live: list[LivePrediction]) -> None:
        for one in list(live):
            if one.state == "submitting":
                live.remove(one)
                for event in (PredictionEvent.NO_ANSWER, PredictionEvent.ABSENT):
                    nobody = Evidence(reason="nobody answers for it")
                    await recovery._context.move(
                        one.seq, event, nobody, job=one.job.job_id, lane=one.key_label
                    )

    monkeypatch.setattr(Recovery, "mark_unanswered", hasty)

    with pytest.raises(Violation, match=r"billed twice|above the limits"):
        _play(_KILLED)


def test_a_clock_that_is_not_begun_anew_after_a_step_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Creates of a moment ago seem to have left their window.
    """
    monkeypatch.setattr(SharedClock, "has_stepped", lambda *_args: False)

    with pytest.raises(Violation, match="above the limits"):
        _play(_SET_AHEAD)


def test_a_process_that_ends_the_run_though_others_work_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hasty(LeaveRun):
        def apply(self, db: Database) -> bool:
            super().apply(db)
            self.end.apply(db)
            return True

    monkeypatch.setattr(shared_run, "LeaveRun", Hasty)

    with pytest.raises(Violation, match="two processes ended run"):
        _play(_TOGETHER)
