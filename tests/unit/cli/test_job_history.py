"""The words for what happened to a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.cli.render.job_history import (
    JOB_WORDS,
    OUTPUT_WORDS,
    PREDICTION_WORDS,
    history_json,
    history_lines,
)
from fluxbatch.cli.render.result import ResultView
from fluxbatch.dataset.find_job import find_job
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.state_machine import JobEvent, OutputEvent, PredictionEvent
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.maintenance import RequeueOutputs
from fluxbatch.ledger.operations.outputs import LoseOutput
from fluxbatch.ledger.operations.retry import Retry
from tests.ledger.support import PRICE, URL, Books, E, make_rows


@pytest.fixture
def books(tmp_path: Path) -> Books:
    database = SqliteDatabase(tmp_path / "ledger.sqlite")
    return Books.opened(database, jobs=2, outputs=2)


def story(books: Books, name: str = "#1") -> list[str]:
    """The lines of `why`, without their times."""
    assert isinstance(books.db, SqliteDatabase)
    folder = Folder(books.db.path.parent)
    with folder.reader() as db:
        lines = list(history_lines(ResultView.read(db, folder, find_job(db, folder, name))))
    return [line[21:] if line[:2] == "20" else line for line in lines]


def test_every_event_of_the_state_tables_has_a_sentence() -> None:
    """
    A new event without words fails here first.
    """
    assert {*PredictionEvent} <= PREDICTION_WORDS.keys()
    assert {*JobEvent} == JOB_WORDS.keys()
    assert {*OutputEvent} == OUTPUT_WORDS.keys()


def test_a_life_with_everything_in_it_is_told_in_order(books: Books) -> None:
    """
    Refused, without an answer, absent, failed, retried, half lost, repaired.
    """
    books.move(books.buy(), E.OVER_LIMIT, reason="slow down", request_id="r-9")
    lost = books.buy()
    books.move(lost, E.NO_ANSWER, reason="timed out")
    books.move(lost, E.ABSENT)
    failed = books.run_one()
    reason = "nothing of that kind"
    books.move(failed, E.FAILED, failure=FailureClass.FILTERED, reason=reason, cost=PRICE)
    books.do(Retry(books.now()))
    moved = books.generate(urls=(URL, URL))
    first, second = moved.outputs
    books.store(first.output_seq)
    books.lose(second.output_seq)
    books.do(RequeueOutputs(books.now(), 1, [(second.output_seq, "the file is missing")]))
    told, over = story(books), PREDICTION_WORDS[E.OVER_LIMIT]
    attempts = [line for line in told if line.startswith("attempt")]

    assert told[0].endswith(", generated")
    assert attempts == [
        "attempt 1   to be bought: $0.025 reserved, with key first key, run run-1 (→ submitting)",
        f"attempt 1   {over}: slow down [request r-9] (submitting → refused)",
        "attempt 2   to be bought: $0.025 reserved, with key first key, run run-1 (→ submitting)",
        f"attempt 2   {PREDICTION_WORDS[E.NO_ANSWER]}: timed out (submitting → unknown)",
        "attempt 2   proven absent at the provider; nothing is paid (unknown → absent)",
        "attempt 3   to be bought: $0.025 reserved, with key first key, run run-1 (→ submitting)",
        "attempt 3   accepted by the provider as provider-3 (submitting → running)",
        "attempt 3   failed at the provider, $0.025: nothing of that kind (running → errored)",
        "attempt 4   to be bought: $0.025 reserved, with key first key, run run-1 (→ submitting)",
        "attempt 4   accepted by the provider as provider-4 (submitting → running)",
        "attempt 4   succeeded, $0.025 (running → succeeded)",
    ]
    assert "job         sent back by `retry`: filtered (failed → pending)" in told
    assert "image 1     stored: images/1.png (wanted → stored)" in told
    assert "image 2     could not be fetched: HTTP 403 eight times (wanted → lost)" in told
    assert "image 2     to be fetched again: the file is missing (lost → wanted)" in told
    assert told[-2:] == [
        "cost        $0.05 for 4 attempts",
        "next        the same `fluxbatch run` again: fetches the images, for nothing",
    ]


def test_a_late_event_is_told_as_late(books: Books) -> None:
    """
    It stands in the ledger, so it is told; it changed nothing, so that is told too.
    """
    books.generate()
    books.move(1, E.NO_ANSWER)

    assert any(line.endswith("(too late to change anything)") for line in story(books))


@pytest.mark.parametrize(
    ("failure", "step"),
    [
        (FailureClass.FILTERED, "retry {} --kind filtered: sends all such jobs back"),
        (FailureClass.INVALID_INPUT, "mend the input in the manifest"),
    ],
)
def test_the_next_step_fits_the_failure(books: Books, failure: FailureClass, step: str) -> None:
    """
    Not every failure is mended by trying again.
    """
    books.move(books.run_one(), E.FAILED, failure=failure, reason="why")
    assert isinstance(books.db, SqliteDatabase)

    assert any(step.format(books.db.path.parent) in line for line in story(books))


def test_what_may_be_alive_or_is_paid_is_not_sent_to_retry(books: Books) -> None:
    """
    Reconcile asks; repair fetches for nothing; waiting is a step as well.
    """
    assert "buys it" in story(books)[-1]
    running = books.run_one()
    assert "wait: it runs at the provider" in story(books)[-1]
    books.move(running, E.GONE)
    assert "fluxbatch reconcile" in story(books)[-1]
    moved = books.generate(2, urls=(URL,))
    books.do(LoseOutput(books.now(), moved.outputs[0].output_seq, "gone"))
    assert "fluxbatch repair" in story(books, "#2")[-1]


def test_an_unknown_create_is_reconciled(books: Books) -> None:
    """
    And its reserved money is in the sum.
    """
    books.move(books.buy(), E.NO_ANSWER)
    told = story(books)

    assert told[-2] == "cost        $0.00 for 1 attempt, $0.025 more reserved"
    assert "fluxbatch reconcile" in told[-1]


def test_a_job_of_an_older_manifest_is_told_as_such(books: Books) -> None:
    """
    No run of the latest manifest buys it, so that is not what comes next.
    """
    books.import_rows("another manifest", make_rows(3)[2:])
    told = story(books, books.job(1)["id"].hex())

    assert (
        told[1]
        == "row         none in m.jsonl, the latest manifest: the job is kept, not submitted"
    )
    assert "the latest manifest does not name this job" in told[-1]


def test_the_object_has_what_the_lines_have(books: Books) -> None:
    """
    With the states and the words beside each other.
    """
    books.generate()
    assert isinstance(books.db, SqliteDatabase)
    folder = Folder(books.db.path.parent)
    with folder.reader() as db:
        told = history_json(ResultView.read(db, folder, find_job(db, folder, "#1")))
    last = told["history"][-1]

    assert (told["state"], told["cost_usd"], len(told["attempts"])) == ("generated", "0.025", 1)
    assert (last["subject"], last["was"], last["became"]) == ("job", "active", "generated")
    assert last["words"] == "generated; its images are to be fetched (active → generated)"
    assert told["attempts"][0]["prediction_id"] == "provider-1"
