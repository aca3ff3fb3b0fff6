"""Runs: begun, continued, ended; the audit of budget lines. Source: docs/design/protocol.md 5."""

from __future__ import annotations

import pytest

from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode, LedgerError
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.intents import Intent, OverBudget
from tests.ledger.support import PRICE, URL, Books, all_rows, fetch, make_rows

E = PredictionEvent
ENDING = [0, 3, 4, 5, 7]
OTHERS = [code for code in ExitCode if code not in ENDING]


@pytest.mark.parametrize("code", ENDING)
def test_an_ended_run_is_followed_by_a_new_one_with_a_fresh_cap(
    database: Database, code: int
) -> None:
    """
    Exit 0, 3, 4, 5 and 7 end a run.
    """
    books = Books.opened(database, jobs=3, caps={"run": PRICE, "day": None, "dataset": None})
    books.buy(1)
    assert isinstance(books.try_buy(2), OverBudget)
    books.end_run(ExitCode(code), "words")

    opened = books.open_run("run-2")
    assert (opened.run_id, opened.continued) == ("run-2", False)
    assert isinstance(books.try_buy(2), Intent)


@pytest.mark.parametrize("code", OTHERS)
def test_an_unended_run_is_continued_under_the_latest_cap(
    database: Database, code: ExitCode
) -> None:
    """
    Same id, same spent total; whoever raises the cap can go on.
    """
    books = Books.opened(database, jobs=3, caps={"run": PRICE, "day": None, "dataset": None})
    books.buy(1)
    books.end_run(code, "cut short")

    opened = books.open_run("run-2")
    assert (opened.run_id, opened.continued) == ("run-1", True)
    assert isinstance(books.try_buy(2), OverBudget)

    books.open_run("run-3", caps={"run": Micros(2 * PRICE), "day": None, "dataset": None})
    assert isinstance(books.try_buy(2), Intent)
    (row,) = all_rows(database, schema.runs)
    assert (row["invocations"], row["exit_code"], row["reason"]) == (3, None, None)
    assert row["started_at"] < row["continued_at"]


def test_a_killed_run_is_continued_without_any_last_word(books: Books) -> None:
    """
    No `EndRun` at all: the usual case after kill -9.
    """
    assert books.open_run("run-2").continued


def test_another_manifest_begins_a_run_of_its_own(books: Books) -> None:
    """
    An unended run is continued by its own manifest only.
    """
    other = books.import_rows("manifest-2", make_rows(2))
    assert books.open_run("run-2", manifest_seq=other).run_id == "run-2"
    assert books.open_run("run-3", manifest_seq=books.manifest_seq).run_id == "run-1"


def test_a_lowered_cap_binds_at_once(database: Database) -> None:
    """
    The cap is the latest given, for run, day and dataset alike.
    """
    books = Books.opened(database, jobs=2)
    books.buy(1)
    books.open_run("x", caps={"run": None, "day": None, "dataset": PRICE})
    assert isinstance(books.try_buy(2), OverBudget)


def test_the_highest_cost_ever_seen_is_told_at_the_start(books: Books) -> None:
    """
    The next invocation reserves at least that much.
    """
    assert books.run.highest_cost == 0
    books.move(books.run_one(1), E.SUCCEEDED, urls=(URL,), cost=Micros(31_000))
    books.move(books.run_one(2), E.SUCCEEDED, urls=(URL,), cost=Micros(24_000))
    assert books.open_run("x").highest_cost == 31_000


def test_a_run_keeps_how_its_latest_invocation_ended(books: Books) -> None:
    """
    Code and words, for `status`.
    """
    books.end_run(ExitCode.SOME_FAILED, "2 jobs failed")
    (row,) = all_rows(books.db, schema.runs)
    assert (row["exit_code"], row["reason"]) == (3, "2 jobs failed")
    assert row["ended_at"] is not None


@pytest.mark.parametrize("column", ["reserved", "settled", "estimated"])
@pytest.mark.parametrize("scope", ["run", "day", "dataset"])
def test_the_audit_finds_a_line_that_was_tampered_with(
    books: Books, scope: str, column: str
) -> None:
    """
    One micro-dollar is enough; the message says where and what to do.
    """
    books.generate(1)
    books.move(books.run_one(2), E.OVERDUE)
    books.buy(3)
    budgets.audit(books.db)
    fetch(books.db, f"UPDATE budgets SET {column} = {column} + 1 WHERE scope = :s", s=scope)
    with pytest.raises(LedgerError, match=f"books of {scope} .*backup"):
        budgets.audit(books.db)


def test_the_audit_finds_a_prediction_that_was_tampered_with(books: Books) -> None:
    """
    And one whose line is missing.
    """
    books.generate(1)
    fetch(books.db, "UPDATE predictions SET cost = 1")
    with pytest.raises(LedgerError, match=r"0\.025.*0\.000001"):
        budgets.audit(books.db)


def test_the_audit_finds_a_line_that_is_missing(books: Books) -> None:
    """
    What nobody booked was spent all the same.
    """
    books.generate(1)
    fetch(books.db, "DELETE FROM budgets WHERE scope = 'day'")
    with pytest.raises(LedgerError, match="books of day '2026-01-01'"):
        budgets.audit(books.db)
