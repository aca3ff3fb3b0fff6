"""The reads of a report, on both databases."""

from __future__ import annotations

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.queries.report_gallery import (
    count_shown_jobs,
    last_change,
    shown_jobs,
    shown_predictions,
    shown_runs,
)
from tests.ledger.support import Books, at, make_rows


def test_jobs_are_shown_with_their_images_once_begun(books: Books) -> None:
    """
    One stored, one failed; the pending one has nothing to show.
    """
    moved = books.generate(1)
    books.store(moved.outputs[0].output_seq)
    books.move(books.run_one(2), PredictionEvent.FAILED, failure=FailureClass.FILTERED)
    ((first, images), (second, none)) = [one for page in shown_jobs(books.db) for one in page]
    assert (first.state, first.user_id, len(images)) == ("done", "row-1", 1)
    assert (images[0].cost, images[0].seed, images[0].run_seq) == (25_000, 99, books.run.seq)
    assert (second.state, second.failure, none) == ("failed", "filtered", [])
    assert count_shown_jobs(books.db) == 2


def test_a_job_that_many_rows_name_is_shown_once(books: Books) -> None:
    """
    With the first of them, in the manifest that last named it.
    """
    rows = make_rows(1)
    twice = [rows[0], type(rows[0])(2, 3, "again", {}, rows[0].job)]
    books.import_rows("manifest-2", twice)
    books.generate(1)
    ((job, _),) = [one for page in shown_jobs(books.db) for one in page]
    assert job.user_id == "row-1"


def test_runs_tell_what_they_bought(books: Books) -> None:
    """
    Every create in order, and when anything last changed.
    """
    books.generate(1)
    books.buy(2)
    (run,) = shown_runs(books.db)
    bought = list(shown_predictions(books.db, run.seq))
    assert [(one.job_seq, one.state, one.cost) for one in bought] == [
        (1, "succeeded", 25_000),
        (2, "submitting", None),
    ]
    changed = last_change(books.db)
    assert changed is not None
    assert changed > at(0).utc.isoformat()
