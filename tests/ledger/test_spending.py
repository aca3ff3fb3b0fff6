"""The spending of a ledger by day, run, model, key and axis, on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.spending import (
    AXIS,
    DIMENSIONS,
    PriceChange,
    Spending,
    axis_names,
    price_changes,
    spending_by,
)
from fluxbatch.ledger.queries.totals import totals
from tests.ledger.support import MODEL, PRICE, URL, Books, make_job, make_row

E = PredictionEvent
TUESDAY, WEDNESDAY = "2026-01-06", "2026-01-07"


def succeed(
    books: Books, job_seq: int, *, cost: Micros = PRICE, stored: bool = True, day: str = TUESDAY
) -> int:
    """Bought, made and, where *stored*, fetched."""
    prediction = books.buy(job_seq, day=day)
    books.move(prediction, E.ACCEPTED, provider_id=f"provider-{prediction}")
    made = books.move(prediction, E.SUCCEEDED, urls=(URL,), cost=cost)
    assert made.wanted is not None
    if stored:
        books.store(made.wanted.outputs[0].output_seq)
    return prediction


def in_axes(books: Books, *axes: dict[str, object]) -> int:
    """A manifest with a row and a job for each."""
    rows = [
        make_row(number, make_job(100 + number), axes=chosen)
        for number, chosen in enumerate(axes, 1)
    ]
    return books.import_rows("in axes", rows)


def test_days_are_those_of_the_budget_and_hold_what_went_to_failures(books: Books) -> None:
    """
    One image and one failure on the first day, one create still running on the second.
    """
    succeed(books, 1, day=TUESDAY)
    failed = books.buy(2, day=TUESDAY)
    books.move(failed, E.ACCEPTED, provider_id="p-failed")
    books.move(failed, E.FAILED, cost=Micros(10_000), failure=FailureClass.PROVIDER_ERROR)
    books.buy(3, day=WEDNESDAY)

    assert spending_by(books.db, "day") == {
        TUESDAY: Spending(creates=2, settled=35_000, on_failures=10_000, images=1),
        WEDNESDAY: Spending(creates=1, reserved=25_000),
    }
    tuesday = spending_by(books.db, "day")[TUESDAY]
    assert (tuesday.spent, tuesday.at_risk, tuesday.an_image) == (35_000, 0, 35_000)


def test_what_never_left_is_in_no_group(books: Books) -> None:
    """
    A create that was not sent cost nothing and holds nothing.
    """
    books.move(books.buy(1, day=TUESDAY), E.NOT_SENT)

    assert spending_by(books.db, "day") == {}


@pytest.mark.parametrize("dimension", [*DIMENSIONS, f"{AXIS}style"])
def test_the_groups_of_every_dimension_add_up_to_the_totals(books: Books, dimension: str) -> None:
    """
    Also where several rows name one job: its money is not counted once for each.
    """
    job = make_job(1)
    books.import_rows("two rows", [make_row(1, job), make_row(2, job), make_row(3, make_job(2))])
    succeed(books, 1)
    books.end_run(ExitCode.DONE)
    books.open_run("run-2")
    succeed(books, 2, day=WEDNESDAY, stored=False)
    books.move(books.buy(3), E.NO_ANSWER)

    total = sum(spending_by(books.db, dimension).values(), Spending())

    known = totals(books.db)
    assert (total.creates, total.images) == (known.creates, known.images) == (3, 1)
    assert (total.spent, total.at_risk) == (known.spent, known.at_risk) == (50_000, 25_000)
    assert total.on_failures == known.on_failures


def test_money_is_told_by_run_model_and_key(books: Books) -> None:
    """
    A run by its id, a key by its label.
    """
    succeed(books, 1)
    books.end_run(ExitCode.DONE)
    books.open_run("run-2")
    succeed(books, 2)
    one, both = Spending(1, 25_000, images=1), Spending(2, 50_000, images=2)

    assert spending_by(books.db, "run") == {"run-1": one, "run-2": one}
    assert spending_by(books.db, "model") == {MODEL: both}
    assert spending_by(books.db, "key") == {"first key": both}


def test_an_axis_tells_the_price_of_each_of_its_values(books: Books) -> None:
    """
    Whatever other axes a row has; a value that is no text is as JSON writes it.
    """
    axes: Sequence[dict[str, object]] = (
        {"style": "oil", "guidance": 3}, {"style": "oil", "guidance": 7}, {"guidance": 7},
    )  # fmt: skip
    books.open_run("run-2", manifest_seq=in_axes(books, *axes))
    for job_seq in (4, 5, 6):
        succeed(books, job_seq)
    one, two = Spending(1, 25_000, images=1), Spending(2, 50_000, images=2)

    assert spending_by(books.db, "axis:style") == {"oil": two, None: one}
    assert spending_by(books.db, "axis:guidance") == {"3": one, "7": two}
    assert axis_names(books.db) == {"style", "guidance"}


def test_a_changed_price_is_found_by_what_executions_really_cost(books: Books) -> None:
    """
    By the latest run and the one before that has successes; what one odd execution cost is none.
    """
    succeed(books, 1)
    assert price_changes(books.db) == []
    books.end_run(ExitCode.DONE)
    books.open_run("run-2")
    succeed(books, 2, cost=Micros(30_000))
    books.end_run(ExitCode.DONE)
    books.open_run("run-3")
    books.move(books.buy(3), E.NOT_SENT)

    assert price_changes(books.db) == [
        PriceChange(MODEL, 1, Micros(25_000), "run-1", Micros(30_000), "run-2")
    ]


def test_what_a_failure_is_estimated_at_is_no_price(database: Database) -> None:
    """
    It is in what was spent, at risk and on failures; only what successes cost is compared.
    """
    books = Books.opened(database, jobs=2)
    succeed(books, 1)
    books.end_run(ExitCode.DONE)
    books.open_run("run-2")
    prediction = books.buy(2, price=Micros(30_000))
    books.move(prediction, E.ACCEPTED, provider_id="p-2")
    books.move(prediction, E.FAILED, failure=FailureClass.PROVIDER_ERROR)

    assert price_changes(database) == []
    spent = spending_by(database, "run")["run-2"]
    assert (spent.spent, spent.at_risk, spent.on_failures) == (30_000, 30_000, 30_000)
    assert spent.an_image is None
