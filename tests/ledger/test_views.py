"""Views with plain names, read with any tool."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.retry import RefuseJob
from tests.ledger.support import URL, Books, at, fetch, make_job, make_row

E = PredictionEvent


@pytest.fixture
def books(database: Database) -> Books:
    """Rows: done (two rows, one job), failed, pending, invalid, refused."""
    books = Books(database)
    rows = [
        make_row(1, make_job(1), user_id="a"),
        make_row(2, make_job(1), user_id="b"),
        make_row(3, make_job(2)),
        make_row(4, make_job(3)),
        make_row(5, None, error="prompt: missing"),
        make_row(6, make_job(4)),
    ]
    books.manifest_seq = books.import_rows("m", rows)
    books.open_run("run-1")
    first, second, _, fourth = (
        row[0] for row in fetch(database, "SELECT seq FROM jobs ORDER BY seq")
    )
    books.store(books.generate(first).outputs[0].output_seq)
    books.move(books.run_one(second), E.CANCELLED, reason="cancelled by hand", cost=Micros(5_000))
    books.do(RefuseJob(at(50), fourth, "photo.png is no image"))
    return books


def third(books: Books) -> int:
    """The pending job's number; on PostgreSQL a row that names a known job uses one up."""
    ((seq,),) = fetch(books.db, "SELECT seq FROM jobs WHERE state = 'pending' ORDER BY seq LIMIT 1")
    return int(seq)


def named(db: Database, columns: str, view: str, order: str) -> list[tuple[Any, ...]]:
    return fetch(db, f"SELECT {columns} FROM {view} ORDER BY {order}")


def test_results_has_a_line_for_every_row_whatever_became_of_it(books: Books) -> None:
    """
    Rows that share a job share its image and keep their own ids.
    """
    found = named(books.db, "row_number, id, status, prompt, path, reason", "results", "row_number")
    assert found == [
        (1, "a", "done", "a lighthouse, 1", "images/1.png", None),
        (2, "b", "done", "a lighthouse, 1", "images/1.png", None),
        (3, "row-3", "failed", "a lighthouse, 2", None, "cancelled by hand"),
        (4, "row-4", "pending", "a lighthouse, 3", None, None),
        (5, "row-5", "invalid", None, None, "prompt: missing"),
        (6, "row-6", "failed", "a lighthouse, 4", None, "photo.png is no image"),
    ]


def test_results_tells_how_an_image_was_made(books: Books) -> None:
    """
    Seed, prediction, measure and cost in dollars.
    """
    columns = "seed, model, prediction_id, width, height, mime, cost_usd, output_number"
    (seed, model, prediction, width, height, mime, cost, number), *_ = named(
        books.db, columns, "results", "row_number"
    )
    assert (seed, model, prediction) == (99, "flux-depth-dev", "provider-1")
    assert (width, height, mime, number) == (64, 48, "image/png", 0)
    assert Decimal(str(cost)) == Decimal("0.025")


def test_costs_has_a_line_for_every_run_in_dollars(books: Books) -> None:
    """
    Creates that were bought, and what each part of the money is.
    """
    books.move(books.run_one(third(books)), E.OVERDUE)
    columns = "creates, succeeded, settled_usd, estimated_usd, reserved_usd, spent_on_failures_usd"
    ((creates, succeeded, *money),) = named(books.db, columns, "costs", "run")
    assert (creates, succeeded) == (3, 1)
    assert [Decimal(str(amount)) for amount in money] == [
        Decimal("0.03"), Decimal("0.025"), Decimal(0), Decimal("0.03"),
    ]  # fmt: skip


def test_costs_counts_no_create_that_was_not_bought(books: Books) -> None:
    """
    Unsent, refused and absent ones are no purchases.
    """
    for event in (E.NOT_SENT, E.OVER_LIMIT):
        books.move(books.buy(third(books)), event)
    assert fetch(books.db, "SELECT creates FROM costs") == [(2,)]


def test_failures_says_why_for_every_row_without_a_result(books: Books) -> None:
    """
    Failed and invalid rows; not those that are still to come.
    """
    assert named(books.db, "row_number, failure, reason", "failures", "row_number") == [
        (3, "cancelled", "cancelled by hand"),
        (5, "invalid", "prompt: missing"),
        (6, "invalid_input", "photo.png is no image"),
    ]


def test_a_second_success_is_a_second_line(books: Books) -> None:
    """
    It is paid, so it is shown.
    """
    job = third(books)
    first = books.buy(job)
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    books.store(books.generate(job).outputs[0].output_seq)
    books.move(first, E.FOUND, provider_id="p")
    books.store(books.move(first, E.SUCCEEDED, urls=(URL,)).outputs[0].output_seq)
    assert fetch(books.db, "SELECT COUNT(*) FROM results WHERE row_number = 4") == [(2,)]


def test_a_prompt_with_a_nul_does_not_hide_all_results(books: Books) -> None:
    """
    JSON can carry it; one such row must not fail the view.
    """
    job = make_job(9)
    job.input["prompt"] = "a\0b"
    books.import_rows("m2", [make_row(1, job)])
    ((prompt,),) = fetch(books.db, "SELECT prompt FROM results WHERE manifest = 2")
    assert prompt.startswith("a")
