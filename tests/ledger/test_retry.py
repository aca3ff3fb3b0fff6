"""`retry`, and jobs that end without a create. Source: docs/design/protocol.md 2 and 6."""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.maintenance import RecordRead
from fluxbatch.ledger.operations.retry import RefuseJob, Retried, Retry
from tests.ledger.support import URL, Books, all_rows, at

E = PredictionEvent
F = FailureClass


def fail(books: Books, job_seq: int, failure: FailureClass) -> int:
    """One job that failed of the class, the way it happens."""
    prediction = books.run_one(job_seq)
    if failure in (F.CANCELLED, F.LOST, F.TIMED_OUT):
        event = {F.CANCELLED: E.CANCELLED, F.LOST: E.GONE, F.TIMED_OUT: E.OVERDUE}[failure]
        books.move(prediction, event)
    elif failure is F.OUTPUT_LOST:
        moved = books.move(prediction, E.SUCCEEDED, urls=(URL,))
        books.lose(moved.outputs[0].output_seq)
    else:
        books.move(prediction, E.FAILED, failure=failure)
    return prediction


@pytest.fixture
def failed(database: Database) -> Books:
    """Jobs 1 to 5 failed: filtered, cancelled, timed_out, lost, output_lost. Job 6 is pending."""
    books = Books.opened(database, jobs=6)
    for seq, kind in enumerate((F.FILTERED, F.CANCELLED, F.TIMED_OUT, F.LOST, F.OUTPUT_LOST), 1):
        fail(books, seq, kind)
    return books


def states(books: Books) -> list[str]:
    return [row["state"] for row in all_rows(books.db, schema.jobs)]


def test_retry_brings_back_what_may_be_bought_again(failed: Books) -> None:
    """
    What may be alive stays until it was read again; what is paid stays for `repair`.
    """
    answer = failed.do(Retry(at(99)))
    assert answer == Retried(2, {F.TIMED_OUT: 1, F.LOST: 1, F.OUTPUT_LOST: 1})
    assert states(failed) == ["pending", "pending", "failed", "failed", "failed", "pending"]
    job = failed.job(1)
    assert (job["failure"], job["reason"], job["attempts_json"]) == (None, None, None)
    line = all_rows(failed.db, schema.history)[-1]
    assert (line["subject"], line["event"], line["at"]) == (
        "job",
        "retried",
        "2026-01-01T00:01:39.000000Z",
    )


def test_retry_of_a_kind_takes_only_that_kind(failed: Books) -> None:
    """
    Who names paid outputs wants them bought again; who names live ones does not get it.
    """
    assert failed.do(Retry(at(99), [F.CANCELLED])) == Retried(1, {})
    assert states(failed)[:2] == ["failed", "pending"]
    assert failed.do(Retry(at(99), [F.OUTPUT_LOST, F.LOST])) == Retried(1, {F.LOST: 1})
    assert states(failed)[4] == "pending"


def test_attempts_are_counted_anew_after_a_retry(books: Books) -> None:
    """
    Otherwise the first failure would be final.
    """
    for _ in range(2):
        books.move(books.run_one(), E.FAILED, failure=F.TIMEOUT)
    assert books.job()["state"] == "failed"
    books.do(Retry(at(99)))
    moved = books.move(books.run_one(), E.FAILED, failure=F.TIMEOUT)
    assert (moved.attempts, moved.job_state) == (1, JobState.PENDING)


def test_a_job_with_a_prediction_that_may_be_alive_is_not_retried(books: Books) -> None:
    """
    Its create was refused, the job failed, and then the prediction was found after all.
    """
    prediction = books.buy()
    books.move(prediction, E.REJECTED)
    books.move(prediction, E.FOUND, provider_id="p-1")
    assert books.do(Retry(at(99))) == Retried(0, {F.INVALID_INPUT: 1})
    assert books.job()["state"] == "failed"

    books.move(prediction, E.FAILED)
    assert books.do(Retry(at(100))) == Retried(1, {})


def test_a_job_that_timed_out_is_retried_once_its_prediction_was_read_again(failed: Books) -> None:
    """
    Read, and not alive: then the user may buy another.
    """
    failed.do(RecordRead(at(90), 3, "the provider says: failed"))
    assert failed.do(Retry(at(99), [F.TIMED_OUT, F.LOST])) == Retried(1, {F.LOST: 1})
    assert states(failed)[2:4] == ["pending", "failed"]


def test_retry_of_nothing_changes_nothing(books: Books) -> None:
    """
    No failed job, no line.
    """
    assert books.do(Retry(at(99))) == Retried(0, {})


def test_a_late_success_overtakes_a_retry(failed: Books) -> None:
    """
    The job was pending again; the image is there, so nothing is bought.
    """
    failed.do(Retry(at(99)))
    moved = failed.move(2, E.SUCCEEDED, urls=(URL,))
    assert moved.job_state is JobState.GENERATED
    assert failed.store(moved.outputs[0].output_seq) is JobState.DONE


def test_a_job_whose_control_image_is_unusable_ends_without_a_create(books: Books) -> None:
    """
    Pending to failed, for nothing.
    """
    books.do(RefuseJob(at(9), 1, "photo.png is no image"))
    job = books.job()
    assert (job["state"], job["failure"]) == ("failed", "invalid_input")
    assert job["reason"] == "photo.png is no image"
    assert books.money == (0, 0, 0)


def test_a_job_that_was_bought_meanwhile_is_not_refused(books: Books) -> None:
    """
    Refusing is for pending jobs; what runs is awaited.
    """
    books.buy()
    books.do(RefuseJob(at(9), 1, "late"))
    assert books.job()["state"] == "active"
