"""The state tables of predictions, jobs and outputs.

Owns which event changes which state to which, and what that does to the slot, the
money and the job's attempts. A cell that is not here does not exist: asking for
it raises `IllegalTransition`. Knows nothing of how anything is stored or sent.
Source: docs/design/protocol.md 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from fluxbatch.domain.job import ATTEMPTS, FailureClass, JobState, OutputState, PredictionState
from fluxbatch.errors import IllegalTransition

_P = PredictionState
J = JobState


class PredictionEvent(StrEnum):
    """What can happen to a prediction."""

    NOT_SENT = "not sent"
    OVER_LIMIT = "429"
    UNPAID = "402"
    KEY_REFUSED = "key refused"
    REJECTED = "input rejected"
    ENDPOINT_WRONG = "endpoint wrong"
    ACCEPTED = "accepted"
    NO_ANSWER = "no answer"
    FOUND = "found"
    ABSENT = "absent"
    GIVEN_UP = "given up"
    NOT_FINISHED = "not finished"
    SUCCEEDED = "succeeded"
    SUCCEEDED_EMPTY = "succeeded without output"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"
    OVERDUE = "overdue"
    COST_LEARNED = "cost learned"


E = PredictionEvent


class SlotMove(StrEnum):
    """What an event does to the prediction's slot."""

    HELD = "held"
    FREED = "freed"
    RETAKEN = "retaken"
    """Held; where it had been freed it is taken again, even above the limit."""
    UNCHANGED = "unchanged"


class MoneyMove(StrEnum):
    """What an event does to the prediction's money."""

    RESERVED = "reserved"
    RELEASED = "released"
    SETTLED = "settled"
    """`metrics.cost` where the provider gave it, else the price at purchase."""
    BY_COST = "by cost"
    """`metrics.cost` where given, else the price as an estimate until the provider says."""
    UNCHANGED = "unchanged"


class JobEvent(StrEnum):
    """What can happen to a job."""

    INTENDED = "intended"
    FOUND = "found"
    UNUSABLE = "control image unusable"
    GENERATED = "generated"
    WAITS = "waits"
    FAILED = "failed"
    STORED = "stored"
    OUTPUT_FAILED = "output failed"
    REPAIRED = "repaired"
    RETRIED = "retried"
    RESEEDED = "reseeded"


class OutputEvent(StrEnum):
    """What can happen to an output."""

    STORED = "stored"
    LOST = "lost"
    WANTED = "wanted again"


class Step(NamedTuple):
    """One cell of the predictions' table."""

    to: PredictionState
    slot: SlotMove
    money: MoneyMove
    failure: FailureClass | None = None
    """What the job's attempt failed of; None where the event costs none or gives its own class."""
    counts: bool = False
    """Whether it costs the job an attempt (a class without attempts is final at once)."""


_FREE = (SlotMove.FREED, MoneyMove.RELEASED)
_FOUND = Step(_P.RUNNING, SlotMove.RETAKEN, MoneyMove.RESERVED)

PREDICTIONS: Mapping[tuple[PredictionState, PredictionEvent], Step] = {
    (_P.SUBMITTING, E.NOT_SENT): Step(_P.UNSENT, *_FREE),
    (_P.SUBMITTING, E.OVER_LIMIT): Step(_P.REFUSED, *_FREE),
    (_P.SUBMITTING, E.UNPAID): Step(_P.REFUSED, *_FREE),
    (_P.SUBMITTING, E.KEY_REFUSED): Step(_P.REFUSED, *_FREE),
    (_P.SUBMITTING, E.REJECTED): Step(_P.REFUSED, *_FREE, FailureClass.INVALID_INPUT, counts=True),
    (_P.SUBMITTING, E.ENDPOINT_WRONG): Step(_P.REFUSED, *_FREE),
    (_P.SUBMITTING, E.ACCEPTED): Step(_P.RUNNING, SlotMove.HELD, MoneyMove.RESERVED),
    (_P.SUBMITTING, E.NO_ANSWER): Step(_P.UNKNOWN, SlotMove.HELD, MoneyMove.RESERVED),
    (_P.SUBMITTING, E.FOUND): _FOUND,
    (_P.UNKNOWN, E.FOUND): _FOUND,
    # The holder of an older epoch may still get its answer; it is paid, so it is kept.
    (_P.UNKNOWN, E.ACCEPTED): _FOUND,
    (_P.UNKNOWN, E.ABSENT): Step(_P.ABSENT, *_FREE, FailureClass.NETWORK, counts=True),
    (_P.UNKNOWN, E.GIVEN_UP): Step(_P.UNKNOWN, SlotMove.FREED, MoneyMove.RESERVED),
    (_P.RUNNING, E.NOT_FINISHED): Step(_P.RUNNING, SlotMove.HELD, MoneyMove.RESERVED),
    (_P.RUNNING, E.SUCCEEDED): Step(_P.SUCCEEDED, SlotMove.FREED, MoneyMove.SETTLED),
    (_P.RUNNING, E.SUCCEEDED_EMPTY): Step(
        _P.ERRORED, SlotMove.FREED, MoneyMove.SETTLED, FailureClass.NO_OUTPUT, counts=True
    ),
    (_P.RUNNING, E.FAILED): Step(_P.ERRORED, SlotMove.FREED, MoneyMove.BY_COST, counts=True),
    (_P.RUNNING, E.CANCELLED): Step(
        _P.CANCELLED, SlotMove.FREED, MoneyMove.BY_COST, FailureClass.CANCELLED, counts=True
    ),
    (_P.RUNNING, E.GONE): Step(
        _P.LOST, SlotMove.FREED, MoneyMove.BY_COST, FailureClass.LOST, counts=True
    ),
    (_P.RUNNING, E.OVERDUE): Step(
        _P.TIMED_OUT, SlotMove.FREED, MoneyMove.BY_COST, FailureClass.TIMED_OUT, counts=True
    ),
    **{
        (ended, E.SUCCEEDED): Step(_P.SUCCEEDED, SlotMove.UNCHANGED, MoneyMove.SETTLED)
        for ended in (_P.ERRORED, _P.CANCELLED, _P.TIMED_OUT, _P.LOST)
    },
    **{
        (ended, found): _FOUND
        for ended in (_P.ABSENT, _P.UNSENT, _P.REFUSED)
        for found in (E.FOUND, E.ACCEPTED)
    },
    **{
        (ended, E.COST_LEARNED): Step(ended, SlotMove.UNCHANGED, MoneyMove.SETTLED)
        for ended in (_P.SUCCEEDED, _P.ERRORED, _P.CANCELLED, _P.TIMED_OUT, _P.LOST)
    },
}

_ANSWERS = frozenset(
    {
        E.NOT_SENT,
        E.OVER_LIMIT,
        E.UNPAID,
        E.KEY_REFUSED,
        E.REJECTED,
        E.ENDPOINT_WRONG,
        E.ACCEPTED,
        E.NO_ANSWER,
    }
)
_SEARCHED = frozenset({E.FOUND, E.ABSENT, E.GIVEN_UP})
_WATCHED = frozenset(
    {
        E.NOT_FINISHED,
        E.SUCCEEDED,
        E.SUCCEEDED_EMPTY,
        E.FAILED,
        E.CANCELLED,
        E.GONE,
        E.OVERDUE,
    }
)

PASSED: Mapping[PredictionState, frozenset[PredictionEvent]] = {
    _P.SUBMITTING: frozenset(),
    _P.UNKNOWN: _ANSWERS - {E.ACCEPTED},
    _P.RUNNING: _ANSWERS | _SEARCHED,
    **dict.fromkeys(
        (_P.SUCCEEDED, _P.ERRORED, _P.CANCELLED, _P.TIMED_OUT, _P.LOST),
        _ANSWERS | _SEARCHED | _WATCHED,
    ),
    **dict.fromkeys((_P.ABSENT, _P.UNSENT, _P.REFUSED), _ANSWERS | _SEARCHED),
}
"""Events that a state has passed: repeated or late, worth a line of history and nothing else."""


def step(state: PredictionState, event: PredictionEvent) -> Step | None:
    """The cell of the table; None where *state* has passed *event*."""
    cell = PREDICTIONS.get((state, event))
    if cell is None and event not in PASSED[state]:
        raise IllegalTransition(f"no prediction that is {state} can see {event.value!r}")
    return cell


JOBS: Mapping[tuple[JobState, JobEvent], JobState] = {
    (J.PENDING, JobEvent.INTENDED): J.ACTIVE,
    (J.PENDING, JobEvent.UNUSABLE): J.FAILED,
    (J.ACTIVE, JobEvent.WAITS): J.PENDING,
    (J.ACTIVE, JobEvent.FAILED): J.FAILED,
    (J.GENERATED, JobEvent.STORED): J.DONE,
    (J.GENERATED, JobEvent.OUTPUT_FAILED): J.FAILED,
    (J.DONE, JobEvent.REPAIRED): J.GENERATED,
    (J.FAILED, JobEvent.REPAIRED): J.GENERATED,
    (J.FAILED, JobEvent.RETRIED): J.PENDING,
    (J.DONE, JobEvent.RESEEDED): J.PENDING,
    # A prediction found late makes its job active again; what has ended waits for its success.
    (J.PENDING, JobEvent.FOUND): J.ACTIVE,
    **{(s, JobEvent.FOUND): s for s in (J.ACTIVE, J.GENERATED, J.DONE, J.FAILED)},
    # A second success of one job is paid: it is kept beside the first and undoes nothing.
    **{(s, JobEvent.GENERATED): J.GENERATED for s in (J.PENDING, J.ACTIVE, J.FAILED)},
    **{(s, JobEvent.GENERATED): s for s in (J.GENERATED, J.DONE)},
}


def job_step(state: JobState, event: JobEvent) -> JobState:
    """The job's next state."""
    try:
        return JOBS[state, event]
    except KeyError:
        raise IllegalTransition(f"no job that is {state} can be {event.value!r}") from None


OUTPUTS: Mapping[tuple[OutputState, OutputEvent], OutputState] = {
    (OutputState.WANTED, OutputEvent.STORED): OutputState.STORED,
    (OutputState.WANTED, OutputEvent.LOST): OutputState.LOST,
    **{(s, OutputEvent.WANTED): OutputState.WANTED for s in (OutputState.STORED, OutputState.LOST)},
}


def output_step(state: OutputState, event: OutputEvent) -> OutputState:
    """The output's next state."""
    try:
        return OUTPUTS[state, event]
    except KeyError:
        raise IllegalTransition(f"no output that is {state} can be {event.value!r}") from None


def may_try_again(failure: FailureClass, attempts: int) -> bool:
    """Whether a job that failed *attempts* times of this class is tried once more."""
    return attempts < ATTEMPTS.get(failure, 0)
