"""A crash just before and just after every state transition of protocol 2 is durable.

Each scenario provokes its transition in the first process, which dies there; later ones
work in peace. Every rule is checked as in any other simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from fluxbatch.domain.state_machine import PredictionEvent as E
from tests.simulation.life import Doom
from tests.simulation.plan import Invocation, Plan
from tests.simulation.running import run_plan


class Scenario(NamedTuple):
    """How an operation of the ledger comes about."""

    operation: str
    faults: Mapping[str, float]
    session: Mapping[str, Any]


def _by(operation: str, faults: Mapping[str, float] | None = None, **session: Any) -> Scenario:
    return Scenario(operation, faults or {}, session)


def _moved(event: E, **faults: float) -> Scenario:
    return _by(f"Transition {event.value}", faults)


SCENARIOS = [
    _by("Intend"),
    _by(f"Transition {E.NOT_SENT.value}", outage=(0.0, 4.0)),
    _moved(E.OVER_LIMIT, create_429_rate=0.7),
    _moved(E.UNPAID, create_402=0.7),
    _moved(E.KEY_REFUSED, create_401=0.7),
    _moved(E.REJECTED, create_400=0.7),
    _moved(E.ENDPOINT_WRONG, create_redirect=1.0),
    _moved(E.ACCEPTED),
    _moved(E.NO_ANSWER, create_timeout_after=0.7),
    _moved(E.FOUND, create_500_after=1.0),
    _moved(E.ABSENT, create_reset_before=1.0),
    _moved(E.GIVEN_UP, create_garbled=1.0, list_403=1.0),
    _moved(E.SUCCEEDED),
    _moved(E.SUCCEEDED_EMPTY, prediction_no_output=1.0),
    _moved(E.FAILED, prediction_error=1.0),
    _moved(E.CANCELLED, prediction_stuck=1.0),
    _moved(E.GONE, prediction_lost=1.0),
    _moved(E.OVERDUE, prediction_stuck=1.0, cancel_ignored=1.0),
    _by("StoreOutput"),
    _by("LoseOutput", {"download_404": 1.0}),
    _by("RecordUpload"),
]
NAMES = [scenario.operation for scenario in SCENARIOS]

ROWS: list[dict[str, Any]] = [
    {"prompt": "a pier", "control_image": "depth-0.png", "output_format": "png"},
    {"prompt": "a pier", "control_image": "https://example.com/depth.png", "num_outputs": 2},
    {"prompt": "a harbour", "control_image": "https://example.com/depth.png", "seed": 7},
]


def plan_for(scenario: Scenario, doom: Doom) -> Plan:
    first = Invocation(faults=scenario.faults, doom=doom, slowness=0.0, badness=0.0)
    return Plan(
        seed=1,
        rows=(ROWS,),
        invocations=(replace(first, **scenario.session),),
        accounts=(2,),
        deadline_s=100.0,
        duration_s=10.0,
        switches={"bill_errors": 1, "bill_cancelled": 1},
    )


@pytest.mark.parametrize("is_power_cut", [False, True], ids=["kill", "power cut"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_a_crash_at_a_transition_breaks_no_rule(
    scenario: Scenario, number: int, moment: str, is_power_cut: bool
) -> None:
    """
    What was durable is taken up, what was not is found again, nothing is bought twice.
    """
    doom = Doom(f"call: {moment} {scenario.operation}", number, is_power_cut=is_power_cut)

    ran = run_plan(plan_for(scenario, doom))

    if number == 1:
        assert ran.deaths == (doom.step,), "the crash did not happen"


def test_every_event_that_moves_a_prediction_is_among_the_scenarios() -> None:
    """
    Polls without news are no transition, and costs are learned by `reconcile` alone.
    """
    moved = {name.removeprefix("Transition ") for name in NAMES if name.startswith("Transition ")}

    assert moved == {event.value for event in E} - {E.NOT_FINISHED.value, E.COST_LEARNED.value}
