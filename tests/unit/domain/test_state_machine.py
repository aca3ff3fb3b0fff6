"""The state tables, cell by cell, against an independent grid.

Source: docs/design/protocol.md 2.
"""

from __future__ import annotations

import itertools

import pytest

from fluxbatch.domain.job import (
    ATTEMPTS,
    LIVE,
    FailureClass,
    JobState,
    OutputState,
    PredictionState,
)
from fluxbatch.domain.state_machine import (
    JOBS,
    PREDICTIONS,
    JobEvent,
    OutputEvent,
    PredictionEvent,
    job_step,
    may_try_again,
    output_step,
    step,
)
from fluxbatch.errors import IllegalTransition

# A cell: the state it leads to, what becomes of slot and money, the class of the attempt it costs
# ("*": the event brings it, "-": none). "." is an event the state has passed, "!" one that raises.
_EVENTS = (
    "not sent", "429", "402", "key refused", "input rejected", "endpoint wrong", "accepted",
    "no answer", "found", "absent", "given up", "not finished", "succeeded",
    "succeeded without output", "failed", "cancelled", "gone", "overdue", "cost learned",
)  # fmt: skip
_FREE = "freed released -"
_FOUND = "running retaken reserved -"
_LATE = "succeeded unchanged settled -"
_GRID: dict[str, dict[str, str]] = {
    "submitting": {
        "not sent": f"unsent {_FREE}",
        "429": f"refused {_FREE}",
        "402": f"refused {_FREE}",
        "key refused": f"refused {_FREE}",
        "input rejected": "refused freed released invalid_input",
        "endpoint wrong": f"refused {_FREE}",
        "accepted": "running held reserved -",
        "no answer": "unknown held reserved -",
        "found": _FOUND,
    },
    "unknown": {
        "not sent": ".", "429": ".", "402": ".", "key refused": ".", "input rejected": ".",
        "endpoint wrong": ".", "no answer": ".",
        "accepted": _FOUND,
        "found": _FOUND,
        "absent": "absent freed released network",
        "given up": "unknown freed reserved -",
    },
    "running": {
        "not sent": ".", "429": ".", "402": ".", "key refused": ".", "input rejected": ".",
        "endpoint wrong": ".", "accepted": ".", "no answer": ".", "found": ".", "absent": ".",
        "given up": ".",
        "not finished": "running held reserved -",
        "succeeded": "succeeded freed settled -",
        "succeeded without output": "errored freed settled no_output",
        "failed": "errored freed bycost *",
        "cancelled": "cancelled freed bycost cancelled",
        "gone": "lost freed bycost lost",
        "overdue": "timed_out freed bycost timed_out",
    },
    "succeeded": {
        **dict.fromkeys(_EVENTS, "."),
        "cost learned": "succeeded unchanged settled -",
    },
    "errored": {
        **dict.fromkeys(_EVENTS, "."),
        "succeeded": _LATE,
        "cost learned": "errored unchanged settled -",
    },
    "cancelled": {
        **dict.fromkeys(_EVENTS, "."),
        "succeeded": _LATE,
        "cost learned": "cancelled unchanged settled -",
    },
    "timed_out": {
        **dict.fromkeys(_EVENTS, "."),
        "succeeded": _LATE,
        "cost learned": "timed_out unchanged settled -",
    },
    "lost": {
        **dict.fromkeys(_EVENTS, "."),
        "succeeded": _LATE,
        "cost learned": "lost unchanged settled -",
    },
    **{
        unbought: {
            "not sent": ".", "429": ".", "402": ".", "key refused": ".", "input rejected": ".",
            "endpoint wrong": ".", "no answer": ".", "absent": ".", "given up": ".",
            "accepted": _FOUND,
            "found": _FOUND,
        }
        for unbought in ("unsent", "refused", "absent")
    },
}  # fmt: skip

_JOB_GRID: dict[str, dict[str, str]] = {
    "pending": {
        "intended": "active",
        "found": "active",
        "control image unusable": "failed",
        "generated": "generated",
    },
    "active": {
        "found": "active",
        "generated": "generated",
        "waits": "pending",
        "failed": "failed",
    },
    "generated": {
        "found": "generated",
        "generated": "generated",
        "stored": "done",
        "output failed": "failed",
    },
    "done": {
        "found": "done",
        "generated": "done",
        "repaired": "generated",
        "reseeded": "pending",
    },
    "failed": {
        "found": "failed",
        "generated": "generated",
        "repaired": "generated",
        "retried": "pending",
    },
}

_OUTPUT_GRID: dict[str, dict[str, str]] = {
    "wanted": {"stored": "stored", "lost": "lost"},
    "stored": {"wanted again": "wanted"},
    "lost": {"wanted again": "wanted"},
}


def test_the_grids_name_every_state_and_every_event() -> None:
    """
    A state or an event that is added must be put into the grid.
    """
    assert sorted(_GRID) == sorted(PredictionState)
    assert sorted(_EVENTS) == sorted(PredictionEvent)
    assert sorted(_JOB_GRID) == sorted(JobState)
    assert {event for row in _JOB_GRID.values() for event in row} == set(JobEvent)
    assert sorted(_OUTPUT_GRID) == sorted(OutputState)
    assert {event for row in _OUTPUT_GRID.values() for event in row} == set(OutputEvent)


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(PredictionState, PredictionEvent)), ids=str
)
def test_every_cell_of_the_predictions_table(
    state: PredictionState, event: PredictionEvent
) -> None:
    """
    Legal with all its effects, passed, or it raises.
    """
    cell = _GRID[state].get(event, "!")
    if cell == "!":
        with pytest.raises(IllegalTransition, match=f"no prediction that is {state}"):
            step(state, event)
        return
    found = step(state, event)
    if cell == ".":
        assert found is None
        return
    assert found is not None
    to, slot, money, failure = cell.split()
    assert found.to == to
    assert found.slot == slot
    assert found.money.replace(" ", "") == money
    assert found.counts == (failure != "-")
    assert found.failure == (None if failure in "-*" else failure)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)), ids=str)
def test_every_cell_of_the_jobs_table(state: JobState, event: JobEvent) -> None:
    """
    Legal, or it raises.
    """
    cell = _JOB_GRID[state].get(event)
    if cell is None:
        with pytest.raises(IllegalTransition, match=f"no job that is {state}"):
            job_step(state, event)
    else:
        assert job_step(state, event) == cell


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(OutputState, OutputEvent)), ids=str
)
def test_every_cell_of_the_outputs_table(state: OutputState, event: OutputEvent) -> None:
    """
    Legal, or it raises.
    """
    cell = _OUTPUT_GRID[state].get(event)
    if cell is None:
        with pytest.raises(IllegalTransition, match=f"no output that is {state}"):
            output_step(state, event)
    else:
        assert output_step(state, event) == cell


def test_only_what_may_be_alive_is_live() -> None:
    """
    Nothing else may be bought for a job while one of these is there.
    """
    assert set(LIVE) == {"submitting", "unknown", "running"}
    assert [state for state in PredictionState if state.is_live] == list(LIVE)


def test_money_stays_reserved_exactly_while_a_prediction_is_live() -> None:
    """
    Every cell that leads to a live state reserves, every other one lets go.
    """
    for (state, event), cell in PREDICTIONS.items():
        assert (cell.money == "reserved") == (cell.to in LIVE), (state, event)


def test_no_job_leads_from_done_to_a_purchase_but_by_the_users_wish() -> None:
    """
    The only way from done to pending is `retry --quality`.
    """
    assert [e for (s, e), to in JOBS.items() if s == "done" and to == "pending"] == ["reseeded"]
    assert [e for (s, e), to in JOBS.items() if s == "failed" and to == "pending"] == ["retried"]


@pytest.mark.parametrize(
    ("failure", "allowed"),
    [("network", 5), ("provider_error", 3), ("timeout", 2), ("no_output", 2)],
)
def test_a_class_with_attempts_is_tried_that_often(failure: str, allowed: int) -> None:
    """
    Attempts are counted in all, the first one included.
    """
    tried = [may_try_again(FailureClass(failure), attempts) for attempts in range(1, allowed + 1)]
    assert tried == [True] * (allowed - 1) + [False]


def test_every_other_class_is_final_at_once() -> None:
    """
    Until the user says `retry`.
    """
    final = set(FailureClass) - set(ATTEMPTS)
    assert final == {
        "invalid_input", "filtered", "cancelled", "lost", "timed_out", "short_output",
        "output_lost",
    }  # fmt: skip
    assert not any(may_try_again(failure, 1) for failure in final)
