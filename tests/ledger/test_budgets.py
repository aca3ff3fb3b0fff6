"""The cost of a prediction's end in the budget lines. Source: docs/design/protocol.md 5."""

from __future__ import annotations

import json

import pytest

from fluxbatch.domain.job import JobState, PredictionState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import LedgerError
from fluxbatch.ledger.db.database import Database
from tests.ledger.support import PRICE, URL, Books, make_rows

E = PredictionEvent
P = PredictionState
J = JobState

NOTHING = (0, 0, 0)


@pytest.mark.parametrize("cost", [0, 19_999, 25_000, 31_000])
def test_a_success_costs_what_the_provider_says(books: Books, cost: int) -> None:
    """
    `metrics.cost` is settled, be it below or above what was reserved.
    """
    moved = books.move(books.run_one(), E.SUCCEEDED, urls=(URL,), cost=Micros(cost))
    assert moved.charged == cost
    assert books.money == (0, cost, 0)


def test_a_success_without_a_cost_costs_the_price_at_purchase(books: Books) -> None:
    """
    Not an estimate: the provider bills its price.
    """
    prediction = books.run_one(price=Micros(40_000))
    moved = books.move(prediction, E.SUCCEEDED, urls=(URL,))
    assert moved.charged == 40_000
    assert books.money == (0, 40_000, 0)
    assert books.prediction(prediction)["estimated"] == 0


def test_an_error_with_a_known_cost_is_settled_at_once(books: Books) -> None:
    """
    A provider that does not bill errors says so.
    """
    moved = books.move(books.run_one(), E.FAILED, cost=Micros(0))
    assert moved.charged == 0
    assert books.money == NOTHING


def test_a_learned_cost_settles_upward_and_downward_and_moves_no_state(books: Books) -> None:
    """
    Neither the end nor the attempts change with it.
    """
    prediction = books.run_one()
    books.move(prediction, E.FAILED)
    ended_at = books.prediction(prediction)["ended_at"]
    for cost in (10_000, 30_000):
        moved = books.move(prediction, E.COST_LEARNED, cost=Micros(cost))
        assert (moved.state, moved.job_state, moved.passed) == (P.ERRORED, J.PENDING, False)
        assert books.money == (0, cost, 0)
    assert books.prediction(prediction)["ended_at"] == ended_at
    assert json.loads(books.job()["attempts_json"]) == {"provider_error": 1}


def test_a_cost_that_was_not_learned_settles_nothing(books: Books) -> None:
    """
    An estimate must not become the truth by an empty answer.
    """
    prediction = books.run_one()
    books.move(prediction, E.FAILED)
    with pytest.raises(LedgerError, match="no cost"):
        books.move(prediction, E.COST_LEARNED)
    assert books.money == (0, 0, PRICE)


def test_a_late_success_keeps_the_cost_that_is_already_known(books: Books) -> None:
    """
    A price is a poorer figure than the provider's own.
    """
    prediction = books.run_one()
    books.move(prediction, E.OVERDUE, cost=Micros(12_345))
    books.move(prediction, E.SUCCEEDED, urls=(URL,))
    assert books.money == (0, 12_345, 0)


def test_money_of_an_older_run_moves_in_its_own_lines(database: Database) -> None:
    """
    A prediction belongs to the run and the day that bought it, whenever it ends.
    """
    books = Books.opened(database, jobs=2)
    old = books.run_one(1)
    books.open_run("run-2", manifest_seq=books.import_rows("other", make_rows(2)), day="2026-01-02")
    books.buy(2, day="2026-01-02")
    books.move(old, E.SUCCEEDED, urls=(URL,))

    assert books.line("run", "run-1") == (0, PRICE, 0)
    assert books.line("run", "run-2") == (PRICE, 0, 0)
    assert books.line("day", "2026-01-01") == (0, PRICE, 0)
    assert books.line("day", "2026-01-02") == (PRICE, 0, 0)
    assert books.money == (PRICE, PRICE, 0)
