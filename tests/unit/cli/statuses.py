"""Statuses as the engine tells them, with only what a test cares about spelled out."""

from __future__ import annotations

from collections.abc import Mapping

from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import Balance, Micros
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.ledger.queries.totals import JobCounts, Totals


def make_totals(*, creates: int = 0, spent: int = 0, reserved: int = 0, failed: int = 0) -> Totals:
    return Totals(
        creates=creates,
        settled=Micros(spent),
        estimated=Micros(0),
        reserved=Micros(reserved),
        on_failures=Micros(failed),
        images=creates,
        image_bytes=0,
    )


def make_lane(label: str = "main", health: str = "working", held: int = 10) -> LaneStatus:
    return LaneStatus(label, held, 10, 42, 100, 60.0, health)


def make_status(
    states: Mapping[JobState, int],
    *,
    elapsed_s: float = 60.0,
    unknown: int = 0,
    submitting: int = 0,
    run: Totals | None = None,
    budgets: tuple[Balance, ...] = (),
    lanes: tuple[LaneStatus, ...] | None = None,
    stopping: str = "",
) -> RunStatus:
    run = run or make_totals()
    return RunStatus(
        run_id="20261122-120000-abcd",
        elapsed_s=elapsed_s,
        jobs=JobCounts(dict(states), unknown, 0, 0, submitting),
        run=run,
        dataset=run,
        budgets=budgets,
        lanes=(make_lane(),) if lanes is None else lanes,
        done_before=0,
        stopping=stopping,
    )


def make_cap(cap: int, settled: int) -> Balance:
    return Balance("run", "", Micros(cap), Micros(0), Micros(settled), Micros(0))
