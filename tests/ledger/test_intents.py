"""The intent: claim, caps, money and row in one transaction.

Source: docs/design/protocol.md 3.1 and 5.
"""

from __future__ import annotations

import anyio
import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import Caps, Micros, Scope
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.intents import Intent, NotPending, OverBudget
from fluxbatch.ledger.writer import LedgerWriter
from tests.ledger.support import NO_CAPS, PRICE, Books, all_rows, assert_agrees

E = PredictionEvent


def test_an_intent_claims_reserves_and_writes_its_row_at_once(books: Books) -> None:
    """
    What must be known after a crash is in the row before a byte leaves.
    """
    answer = books.try_buy(1)
    assert answer == Intent(prediction_seq=1, attempt=1)
    assert books.job(1)["state"] == "active"
    assert books.money == books.line("run", "run-1") == books.line("day", "2026-01-01")
    assert books.money == (PRICE, 0, 0)

    row = books.prediction(1)
    kept = {
        "job_seq": 1, "run_seq": books.run.seq, "attempt": 1, "state": "submitting",
        "account": "account-1", "key_fingerprint": "f1f1f1f1", "key_label": "first key",
        "epoch": 0, "price": PRICE, "reserved": PRICE, "budget_day": "2026-01-01", "seed": 99,
        "boot_id": "boot-1", "polls": 0, "at_risk": 0, "estimated": 0, "cost": None,
    }  # fmt: skip
    assert {name: row[name] for name in kept} == kept
    assert row["send_by_boot_us"] - row["intended_boot_us"] == 5_000_000
    assert row["intended_at"] < row["send_by_at"]


def test_a_job_that_is_not_pending_is_not_bought(books: Books) -> None:
    """
    Whatever it is; and nothing is written.
    """
    books.buy(1)
    before = all_rows(books.db, schema.history)
    assert books.try_buy(1) == NotPending(JobState.ACTIVE)
    assert all_rows(books.db, schema.history) == before

    moved = books.generate(2)
    assert books.try_buy(2) == NotPending(JobState.GENERATED)
    books.store(moved.outputs[0].output_seq)
    assert books.try_buy(2) == NotPending(JobState.DONE)

    books.move(books.buy(3), E.REJECTED)
    assert books.try_buy(3) == NotPending(JobState.FAILED)


@pytest.mark.parametrize("scope", ["run", "day", "dataset"])
def test_a_cap_without_room_refuses_the_create(database: Database, scope: Scope) -> None:
    """
    Reserved, settled and estimated all count; nothing is written, the job stays pending.
    """
    books = Books.opened(database, jobs=4, caps={**NO_CAPS, scope: Micros(4 * PRICE - 1)})
    books.generate(1)
    books.move(books.run_one(2), E.OVERDUE)
    books.move(books.buy(3), E.NO_ANSWER)
    assert books.money == (PRICE, PRICE, PRICE)
    history = all_rows(database, schema.history)

    answer = books.try_buy(4)

    assert isinstance(answer, OverBudget)
    assert answer.balance.scope == scope
    assert (answer.balance.cap, answer.balance.committed) == (4 * PRICE - 1, 3 * PRICE)
    assert books.job(4)["state"] == "pending"
    assert all_rows(database, schema.history) == history
    latest = books.try_buy(4, price=Micros(PRICE - 1))
    assert isinstance(latest, Intent), "to the last micro-dollar"


def test_the_cap_that_is_nearest_is_named_first(database: Database) -> None:
    """
    Where several have no room: the run's, the day's, the dataset's.
    """
    books = Books.opened(database, caps={"run": Micros(1), "day": Micros(1), "dataset": Micros(1)})
    answer = books.try_buy(1)
    assert isinstance(answer, OverBudget)
    assert answer.balance.scope == "run"


def test_a_new_day_begins_with_an_empty_line(database: Database) -> None:
    """
    The day's cap is per day; the run and the dataset go on.
    """
    books = Books.opened(database, jobs=3, caps={"run": None, "day": PRICE, "dataset": None})
    books.buy(1)
    assert isinstance(books.try_buy(2), OverBudget)
    books.buy(2, day="2026-01-02")
    assert isinstance(books.try_buy(3, day="2026-01-02"), OverBudget)

    assert books.line("day", "2026-01-01") == books.line("day", "2026-01-02") == (PRICE, 0, 0)
    assert books.line("run", "run-1") == books.money == (2 * PRICE, 0, 0)


def test_what_is_released_can_be_spent_again(database: Database) -> None:
    """
    An unsent create gives its room back.
    """
    books = Books.opened(database, jobs=2, caps={"run": PRICE, "day": None, "dataset": None})
    first = books.buy(1)
    assert isinstance(books.try_buy(2), OverBudget)
    books.move(first, E.NOT_SENT)
    assert isinstance(books.try_buy(2), Intent)


def test_money_beyond_32_bits_is_counted_exactly(database: Database) -> None:
    """
    A cap of a million dollars is 10^12 micro-dollars.
    """
    much = Micros(10**12)
    books = Books.opened(
        database, jobs=2, caps={"run": Micros(2 * much), "day": None, "dataset": None}
    )
    books.buy(1, price=much)
    books.buy(2, price=much)
    assert books.money == (2 * much, 0, 0)


async def test_a_hundred_intents_that_wait_together_stop_at_the_cap(database: Database) -> None:
    """
    One group, one check after another: exactly four of them fit.
    """
    caps: Caps = {"run": Micros(4 * PRICE), "day": None, "dataset": None}
    books = Books.opened(database, jobs=100, caps=caps)
    writer = LedgerWriter(database, in_thread)
    answers: list[object] = []

    async def try_one(job_seq: int) -> None:
        answers.append(await writer.apply(books.intent(job_seq)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        async with anyio.create_task_group() as buyers:
            for job_seq in range(1, 101):
                buyers.start_soon(try_one, job_seq)
        tasks.cancel_scope.cancel()

    assert sum(isinstance(answer, Intent) for answer in answers) == 4
    assert sum(isinstance(answer, OverBudget) for answer in answers) == 96
    assert books.money == (4 * PRICE, 0, 0)
    assert_agrees(database)
