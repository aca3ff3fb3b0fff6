"""Mistakes planted in what is made of executions without input: the simulation catches each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fluxbatch.config.settings import Reconcile
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.control import ChangeCap, RecordChange
from fluxbatch.provider import Execution, Status
from fluxbatch.scheduler.lanes import Lanes
from fluxbatch.worker.unknown import resolve
from fluxbatch.worker.unknown.create import Outlook
from tests.simulation import world
from tests.simulation.checks import Violation
from tests.simulation.plan import Invocation, Plan
from tests.simulation.running import run_plan

_outlook = resolve._outlook


def _plan(faults: dict[str, float], **changes: Any) -> Plan:
    rows = [
        {"prompt": f"pier {n}", "control_image": "https://example.com/d.png",
         "output_format": "png"} for n in range(6)
    ]  # fmt: skip
    one = Invocation(faults=faults, slowness=0.0, badness=0.0)
    options: dict[str, Any] = {"dialect": "card", "concurrent": 2, "lag_s": 10.0, **changes}
    return Plan(seed=1, rows=(rows,), invocations=(one,), **options)


_LOST = _plan({"create_reset_after": 0.5})
_LONG = _plan({"create_reset_after": 0.5}, duration_s=80.0, deadline_s=300.0)
_SHARED = _plan({"create_reset_after": 0.4, "create_reset_before": 0.4, "list_strangers": 0.7})


def test_without_a_mistake_nothing_is_caught() -> None:
    """
    What stays unknown does so for good reasons.
    """
    for plan in (_LOST, _LONG, _SHARED):
        run_plan(plan)


def test_adopting_by_time_without_sole_use_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A colleague's execution may be in the very same second.
    """

    def told_otherwise(*, lag: float, patience: float, sole_user: bool) -> Reconcile:
        return Reconcile(lag=lag, patience=patience, sole_user=not sole_user)

    monkeypatch.setattr(world, "Reconcile", told_otherwise)

    with pytest.raises(Violation, match=r"by its time alone|nobody's of ours|another job's"):
        run_plan(_SHARED)


def test_freeing_a_slot_too_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Something that could be it is unfinished, and counts at the provider.
    """

    def hasty(possible: Sequence[Execution]) -> Outlook:
        alive = any(row.status is Status.NOT_FINISHED for row in possible)
        return "ended" if alive else _outlook(possible)

    monkeypatch.setattr(resolve, "_outlook", hasty)

    with pytest.raises(Violation, match="above the limits"):
        run_plan(_LONG)


@pytest.mark.parametrize("taken_for", ["absent", "failed"])
def test_buying_again_while_a_candidate_succeeded_is_caught(
    monkeypatch: pytest.MonkeyPatch, taken_for: Outlook
) -> None:
    """
    It may be the job's own, and then it is paid twice.
    """

    def greedy(possible: Sequence[Execution]) -> Outlook:
        seen = _outlook(possible)
        return taken_for if seen == "ended" else seen

    monkeypatch.setattr(resolve, "_outlook", greedy)

    with pytest.raises(Violation, match=r"billed twice|another job's"):
        run_plan(_LOST)


_STEERED = _plan({"create_slow": 0.3}, derived_seeds=True)


def _steered(*commands: tuple[float, str, str]) -> Plan:
    one = replace(_STEERED.invocations[0], commands=commands, caps=(1_000_000, None, None))
    return replace(_STEERED, invocations=(one,), concurrent=3, duration_s=3.0)


_PAUSED = _steered((1.0, "pause", ""), (60.0, "resume", ""))
_LOWERED = _steered((1.0, "budget", "0.075"))


def test_a_run_that_is_steered_breaks_no_rule() -> None:
    """
    Both plans of the mistakes below.
    """
    for plan in (_PAUSED, _LOWERED):
        run_plan(plan)


def test_a_pause_that_stops_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lanes, "suspend", lambda lanes, reason: None)

    with pytest.raises(Violation, match="while the run was paused"):
        run_plan(_PAUSED)


def test_a_lowered_cap_that_the_books_do_not_know_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgotten(change: ChangeCap, db: Database) -> Micros:
        RecordChange(change.at, change.run_seq, change.words, change.reason).apply(db)
        return Micros(0)

    monkeypatch.setattr(ChangeCap, "apply", forgotten)

    with pytest.raises(Violation, match="under a cap of"):
        run_plan(_LOWERED)


def test_a_change_that_no_ledger_has_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordChange, "apply", lambda change, db: None)

    with pytest.raises(Violation, match="not in the ledger"):
        run_plan(_PAUSED)
