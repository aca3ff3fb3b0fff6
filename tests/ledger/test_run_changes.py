"""Changes of a run as a job's history tells them, on both databases."""

from __future__ import annotations

from fluxbatch.errors import ExitCode
from fluxbatch.ledger.operations.control import RecordChange
from fluxbatch.ledger.queries.history.job_history import job_history
from fluxbatch.ledger.queries.history.run_changes import changes_of_run
from tests.ledger.support import Books, E


def change(books: Books, words: str, reason: str = "") -> None:
    books.do(RecordChange(books.now(), books.run.seq, words, reason))


def told(books: Books, job_seq: int = 1) -> list[str]:
    """What a job's history tells of runs."""
    entries = job_history(books.db, job_seq).history
    return [entry.event for entry in entries if entry.subject == "run"]


def test_a_change_is_told_of_jobs_that_waited_meanwhile(books: Books) -> None:
    """
    What was over before the job began to wait is not; what still held then is.
    """
    prediction = books.buy()
    change(books, "paused", "lunch")
    change(books, "resumed")
    change(books, "lane one off")
    books.move(prediction, E.OVER_LIMIT)  # it waits from here on
    change(books, "lane one on")
    books.buy()
    change(books, "paused")

    assert told(books) == ["control: lane one off", "control: lane one on"]
    assert [line.change for line in changes_of_run(books.db, books.run.run_id)] == [
        "paused",
        "resumed",
        "lane one off",
        "lane one on",
        "paused",
    ]


def test_the_end_of_a_run_is_told_where_it_ended_a_change(books: Books) -> None:
    """
    Of a later run of the same manifest only what is changed there.
    """
    change(books, "paused")
    books.end_run(ExitCode.STOPPED, "stopped")
    books.open_run("run-2")
    change(books, "budget $1.00")

    assert told(books) == ["control: paused", "exit 4", "control: budget $1.00"]
    held = [entry.event for entry in job_history(books.db, 1).in_force]
    assert held == ["control: budget $1.00"]


def test_a_pause_is_forgotten_with_its_process_and_not_with_a_worker(books: Books) -> None:
    """
    A run in a folder that is killed and continued begins with its config; one that processes
    share keeps what was asked of it.
    """
    change(books, "paused")
    books.end_run(ExitCode.INTERRUPTED, "interrupted")  # it stays open
    books.open_run("run-1")
    shared = books.db.name == "postgresql"

    assert [entry.event for entry in job_history(books.db, 1).in_force] == (
        ["control: paused"] if shared else []
    )


def test_a_run_of_another_manifest_keeps_no_job_waiting(books: Books) -> None:
    """
    It would never have bought this one.
    """
    books.open_run("run-2", manifest_seq=books.import_rows("other", []))
    change(books, "paused")

    assert told(books) == []
