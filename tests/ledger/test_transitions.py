"""The effect of each event on prediction, job, money and attempts.

Source: docs/design/protocol.md 2 and 5.
"""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import FailureClass, JobState, PredictionId, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import IllegalTransition
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.operations.intents import NotPending
from fluxbatch.ledger.operations.transitions import Evidence, Transition
from fluxbatch.ledger.writer import commit
from tests.ledger.support import PRICE, URL, Books, all_rows, at, provider_id

E = PredictionEvent
P = PredictionState
J = JobState

NOTHING = (0, 0, 0)
RESERVED = (PRICE, 0, 0)


@pytest.mark.parametrize(
    "event", [E.NOT_SENT, E.OVER_LIMIT, E.UNPAID, E.KEY_REFUSED, E.ENDPOINT_WRONG]
)
def test_a_create_that_bought_nothing_costs_neither_money_nor_an_attempt(
    books: Books, event: PredictionEvent
) -> None:
    """
    The job waits again as if nothing had been tried.
    """
    prediction = books.buy()
    assert books.money == RESERVED

    moved = books.move(prediction, event, reason="words")

    assert moved.job_state is J.PENDING
    assert (moved.failure, moved.attempts, moved.charged) == (None, 0, 0)
    assert books.money == NOTHING
    assert books.job()["attempts_json"] is None


def test_a_rejected_input_fails_the_job_at_once_and_for_nothing(books: Books) -> None:
    """
    400 is final: the same input would be rejected for ever.
    """
    moved = books.move(books.buy(), E.REJECTED, reason="prompt is too long")

    assert (moved.state, moved.job_state) == (P.REFUSED, J.FAILED)
    assert moved.failure is FailureClass.INVALID_INPUT
    assert books.job()["failure"] == "invalid_input"
    assert books.job()["reason"] == "prompt is too long"
    assert books.money == NOTHING


def test_an_accepted_create_keeps_its_reservation_and_its_facts(books: Books) -> None:
    """
    Id, request and times are written with the state.
    """
    prediction = books.buy()
    books.move(
        prediction, E.ACCEPTED, provider_id="abc", request_id="r-1", left=at(2), answered=at(3)
    )

    row = books.prediction(prediction)
    assert (row["state"], row["provider_id"], row["request_id"]) == ("running", "abc", "r-1")
    assert (row["left_boot_us"], row["answered_boot_us"]) == (502_000_000, 503_000_000)
    assert row["left_at"] == "2026-01-01T00:00:02.000000Z"
    assert books.money == RESERVED
    assert books.job()["state"] == "active"


def test_no_answer_keeps_the_money_and_the_job(books: Books) -> None:
    """
    It may be alive: nothing else may be bought for its job.
    """
    prediction = books.buy()
    moved = books.move(prediction, E.NO_ANSWER, reason="timeout", given_up=at(30))

    assert (moved.state, moved.job_state) == (P.UNKNOWN, J.ACTIVE)
    assert books.money == RESERVED
    assert isinstance(books.try_buy(1), NotPending)
    assert books.prediction(prediction)["given_up_at"] == "2026-01-01T00:00:30.000000Z"


def test_an_unknown_that_is_given_up_stays_reserved_and_is_at_risk(books: Books) -> None:
    """
    It counts against the caps until it is found or known to be absent.
    """
    prediction = books.buy()
    books.move(prediction, E.NO_ANSWER)
    moved = books.move(prediction, E.GIVEN_UP)

    assert (moved.state, moved.job_state) == (P.UNKNOWN, J.ACTIVE)
    assert books.prediction(prediction)["at_risk"] == 1
    assert books.money == RESERVED

    books.move(prediction, E.FOUND, provider_id="late", adopted="by input")
    row = books.prediction(prediction)
    assert (row["state"], row["at_risk"], row["adopted"]) == ("running", 0, "by input")
    assert books.money == RESERVED


def test_an_absent_create_releases_its_money_and_costs_one_network_attempt(books: Books) -> None:
    """
    Five of them fail the job.
    """
    for attempt in range(1, 6):
        prediction = books.buy()
        books.move(prediction, E.NO_ANSWER)
        moved = books.move(prediction, E.ABSENT, reason="in no listing")
        assert (moved.failure, moved.attempts) == (FailureClass.NETWORK, attempt)
        assert moved.job_state is (J.PENDING if attempt < 5 else J.FAILED)
        assert books.money == NOTHING
    assert books.job()["failure"] == "network"
    assert books.job()["predictions"] == 5


@pytest.mark.parametrize(
    ("failure", "allowed"),
    [
        (FailureClass.PROVIDER_ERROR, 3),
        (FailureClass.TIMEOUT, 2),
        (FailureClass.FILTERED, 1),
        (None, 3),
    ],
)
def test_an_errored_prediction_is_tried_again_as_often_as_its_class_allows(
    books: Books, failure: FailureClass | None, allowed: int
) -> None:
    """
    An error without a class is the provider's. Each is paid: its price, as an estimate.
    """
    for attempt in range(1, allowed + 1):
        moved = books.move(books.run_one(), E.FAILED, failure=failure, reason="boom")
        assert moved.failure is (failure or FailureClass.PROVIDER_ERROR)
        assert moved.attempts == attempt
        assert moved.job_state is (J.PENDING if attempt < allowed else J.FAILED)
        assert books.money == (0, 0, attempt * PRICE)
    assert books.job()["failure"] == (failure or FailureClass.PROVIDER_ERROR)
    assert all(
        row["failure"] == books.job()["failure"] for row in all_rows(books.db, schema.predictions)
    )


def test_a_success_without_an_image_is_paid_and_tried_twice(books: Books) -> None:
    """
    Class no_output, settled at the price.
    """
    first = books.move(books.run_one(), E.SUCCEEDED_EMPTY)
    assert (first.job_state, first.charged) == (J.PENDING, PRICE)
    second = books.move(books.run_one(), E.SUCCEEDED)  # no URL: the same thing
    assert (second.state, second.failure) == (P.ERRORED, FailureClass.NO_OUTPUT)
    assert second.job_state is J.FAILED
    assert books.money == (0, 2 * PRICE, 0)


@pytest.mark.parametrize(
    ("event", "state", "failure"),
    [
        (E.CANCELLED, P.CANCELLED, FailureClass.CANCELLED),
        (E.GONE, P.LOST, FailureClass.LOST),
        (E.OVERDUE, P.TIMED_OUT, FailureClass.TIMED_OUT),
    ],
)
def test_cancelled_lost_and_timed_out_are_final(
    books: Books, event: PredictionEvent, state: PredictionState, failure: FailureClass
) -> None:
    """
    Each fails the job at once; what it cost is an estimate until the provider tells.
    """
    prediction = books.run_one()
    moved = books.move(prediction, event, reason="so it ended")

    assert (moved.state, moved.job_state, moved.failure) == (state, J.FAILED, failure)
    assert moved.charged == PRICE
    assert books.money == (0, 0, PRICE)

    settled = books.move(prediction, E.COST_LEARNED, cost=Micros(0))
    assert settled.charged == 0
    assert books.money == NOTHING
    assert books.job()["reason"] == "so it ended"


@pytest.mark.parametrize("event", [E.FAILED, E.CANCELLED, E.GONE, E.OVERDUE])
def test_a_success_found_late_brings_the_job_back(books: Books, event: PredictionEvent) -> None:
    """
    What was paid is fetched; the estimate becomes the settled cost; no failure stays written.
    """
    prediction = books.run_one()
    books.move(prediction, event, failure=FailureClass.FILTERED, reason="words")
    moved = books.move(prediction, E.SUCCEEDED, urls=(URL,))

    assert (moved.state, moved.job_state) == (P.SUCCEEDED, J.GENERATED)
    assert [output.number for output in moved.outputs] == [0]
    assert books.money == (0, PRICE, 0)
    row = books.prediction(prediction)
    assert (row["failure"], row["reason"]) == (None, None)
    assert books.store(moved.outputs[0].output_seq) is J.DONE


@pytest.mark.parametrize("end", [E.NOT_SENT, E.OVER_LIMIT, E.REJECTED])
def test_a_create_that_was_refused_and_is_found_alive_is_reserved_again(
    books: Books, end: PredictionEvent
) -> None:
    """
    Even above a cap: it is at the provider, so it will be billed.
    """
    prediction = books.buy()
    was = books.move(prediction, end).job_state
    books.caps = {"run": PRICE, "day": PRICE, "dataset": PRICE}
    books.open_run("run-x")
    books.buy(2)  # the whole cap

    moved = books.move(prediction, E.FOUND, provider_id="p-1", adopted="by webhook")

    assert moved.state is P.RUNNING
    assert moved.job_state is (J.ACTIVE if was is J.PENDING else J.FAILED)
    assert books.money == (2 * PRICE, 0, 0)
    row = books.prediction(prediction)
    assert (row["failure"], row["ended_at"]) == (None, None)

    done = books.move(prediction, E.SUCCEEDED, urls=(URL,), cost=PRICE)
    assert done.job_state is J.GENERATED


def test_a_job_fails_only_when_no_other_prediction_of_it_is_alive(books: Books) -> None:
    """
    The first, thought absent, is found again while the second is rejected.
    """
    first = books.buy()
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    second = books.buy()
    books.move(first, E.FOUND, provider_id="p-1")

    moved = books.move(second, E.REJECTED, reason="bad prompt")
    assert (moved.job_state, moved.failure) == (J.ACTIVE, FailureClass.INVALID_INPUT)

    moved = books.move(first, E.FAILED, reason="boom")
    assert moved.job_state is J.FAILED, "the rejection was final, though it had to wait"
    assert books.job()["failure"] == "invalid_input"
    assert books.job()["reason"] == "bad prompt"


def test_two_live_predictions_of_a_job_can_both_be_rescued(books: Books) -> None:
    """
    The one that fails takes nothing from the one that succeeds.
    """
    first = books.buy()
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    second = books.run_one()
    books.move(first, E.FOUND, provider_id="p-1")
    assert books.money == (2 * PRICE, 0, 0)

    assert books.move(second, E.FAILED, reason="boom").job_state is J.ACTIVE
    assert books.move(first, E.SUCCEEDED, urls=(URL,)).job_state is J.GENERATED
    assert books.money == (0, PRICE, PRICE)


@pytest.mark.parametrize("later_first", [False, True])
def test_a_second_success_is_kept_beside_the_first(books: Books, later_first: bool) -> None:
    """
    It is paid, so it is fetched; each success has its own edition, whichever came first.
    """
    first = books.buy()
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    second = books.run_one()
    books.move(first, E.FOUND, provider_id="p-1")

    order = (second, first) if later_first else (first, second)
    moved = [books.move(prediction, E.SUCCEEDED, urls=(URL,)) for prediction in order]

    assert [one.edition for one in moved] == [0, 1]
    assert [one.job_state for one in moved] == [J.GENERATED, J.GENERATED]
    assert books.store(moved[1].outputs[0].output_seq) is J.DONE
    assert books.store(moved[0].outputs[0].output_seq) is J.DONE
    assert books.money == (0, 2 * PRICE, 0)


def test_an_id_that_another_prediction_bears_proves_nothing(books: Books) -> None:
    """
    The create is treated as unanswered; the words say why.
    """
    books.move(books.buy(1), E.ACCEPTED, provider_id="same")
    second = books.buy(2)
    moved = books.move(second, E.ACCEPTED, provider_id="same")

    assert (moved.state, moved.job_state) == (P.UNKNOWN, J.ACTIVE)
    row = books.prediction(second)
    assert row["provider_id"] is None
    assert "another prediction" in row["reason"]

    again = books.move(second, E.FOUND, provider_id="same")
    assert again.passed
    assert again.state is P.UNKNOWN


PASSED = [
    ((E.NO_ANSWER,), E.NO_ANSWER),
    ((E.ACCEPTED,), E.ACCEPTED),
    ((E.ACCEPTED,), E.NO_ANSWER),
    ((E.ACCEPTED, E.SUCCEEDED), E.SUCCEEDED),
    ((E.ACCEPTED, E.SUCCEEDED), E.OVER_LIMIT),
    ((E.ACCEPTED, E.FAILED), E.FAILED),
    ((E.ACCEPTED, E.CANCELLED), E.GONE),
    ((E.NOT_SENT,), E.OVER_LIMIT),
]


@pytest.mark.parametrize(("events", "late"), PASSED)
def test_an_event_its_state_has_passed_is_history_only(
    books: Books, events: tuple[PredictionEvent, ...], late: PredictionEvent
) -> None:
    """
    A repeated or late webhook, the create's own answer after one: a line, and nothing else.
    """
    prediction = books.buy()
    for event in events:
        books.move(
            prediction, event, provider_id="p-1" if event is E.ACCEPTED else None, urls=(URL,)
        )
    before = [all_rows(books.db, t) for t in (schema.predictions, schema.jobs, schema.budgets)]
    lines = len(all_rows(books.db, schema.history))

    moved = books.move(prediction, late, urls=(URL,), cost=Micros(99), reason="late")

    assert moved.passed
    assert moved.outputs == ()
    assert [
        all_rows(books.db, t) for t in (schema.predictions, schema.jobs, schema.budgets)
    ] == before
    history = all_rows(books.db, schema.history)
    assert len(history) == lines + 1
    assert history[-1]["was"] == history[-1]["became"] == moved.state
    assert (history[-1]["event"], history[-1]["reason"]) == (late, "late")


def test_what_cannot_happen_raises_and_changes_nothing(books: Books) -> None:
    """
    An event outside the table is a bug of ours, never an outcome.
    """
    prediction = books.buy()
    lines = len(all_rows(books.db, schema.history))
    with pytest.raises(IllegalTransition, match="submitting"):
        books.move(prediction, E.SUCCEEDED, urls=(URL,))
    assert books.prediction(prediction)["state"] == "submitting"
    assert len(all_rows(books.db, schema.history)) == lines


def test_a_move_is_a_value_that_can_be_applied_from_anywhere(books: Books) -> None:
    """
    `commit` applies one operation at once, for callers without an engine.
    """
    prediction = books.buy()
    moved = commit(books.db, Transition(at(9), prediction, E.ACCEPTED, Evidence(PredictionId("p"))))
    assert moved.state is P.RUNNING
    assert provider_id(prediction) != "p"
