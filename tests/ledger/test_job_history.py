"""One job in full, and the names by which it is found, on both databases."""

from __future__ import annotations

from fluxbatch.domain.job import FailureClass, JobState, OutputState
from fluxbatch.ledger.queries import lookup
from fluxbatch.ledger.queries.history.job_history import job_history
from fluxbatch.ledger.queries.results import row_results
from tests.ledger.support import PRICE, URL, Books, E, make_job, make_row


def test_a_dossier_has_every_attempt_image_and_change(books: Books) -> None:
    """
    In the order they came; no URL brings its token along.
    """
    failed = books.run_one()
    books.move(failed, E.FAILED, failure=FailureClass.PROVIDER_ERROR, reason="oh", cost=PRICE)
    moved = books.generate(urls=(f"{URL}?token=secret",))
    books.store(moved.outputs[0].output_seq)
    told = job_history(books.db, 1)

    assert (told.job.state, told.job.model) == (JobState.DONE, "flux-depth-dev")
    assert [p.attempt for p in told.predictions] == [1, 2]
    assert (told.cost, told.reserved, told.is_estimated) == (2 * PRICE, 0, False)
    assert [(o.state, o.path) for o in told.outputs] == [(OutputState.STORED, "images/1.png")]
    assert (told.history[0].was, told.history[0].became) == ("pending", "active")
    assert (told.history[-1].was, told.history[-1].became) == ("generated", "done")
    assert "secret" not in repr(told)


def test_names_find_rows_jobs_and_files(books: Books) -> None:
    """
    Exactly, by a beginning, by bytes; a bound is kept.
    """
    shared = make_job(7)
    rows = [make_row(n, shared, user_id=f"ä_{n}%") for n in range(1, 4)]
    bad = make_row(4, None, user_id="bad", error="why")
    seq = books.import_rows("second", [*rows, bad])
    named = lookup.row_by_number(books.db, seq, 1)
    assert named is not None
    assert named.job_seq is not None
    job = named.job_seq
    prediction = books.run_one(job)
    moved = books.move(prediction, E.SUCCEEDED, urls=(URL,), cost=PRICE)
    books.store(moved.outputs[0].output_seq)
    digits = shared.job_id.hex()

    number = lookup.row_by_number(books.db, seq, 4)
    assert number is not None
    assert (number.job_seq, number.error) == (None, "why")
    assert lookup.row_by_number(books.db, seq, 9) is None
    assert [r.number for r in lookup.rows_by_user_id(books.db, seq, "ä_2%", 5)] == [2]
    assert [r.number for r in lookup.rows_by_prefix(books.db, seq, "ä_", 2)] == [1, 2]
    assert lookup.rows_by_prefix(books.db, seq, "%", 5) == []
    count, first = lookup.rows_of_job(books.db, seq, job, 2)
    assert (count, [row.number for row in first]) == (3, [1, 2])
    for length in (4, 5, 32):
        assert (job, digits) in lookup.jobs_by_prefix(books.db, digits[:length], 5)
    assert lookup.job_of_prediction(books.db, "provider-1") == job
    assert lookup.job_of_prediction(books.db, "provider") is None
    assert lookup.output_at(books.db, "images/1.png") == (job, 1)
    assert lookup.output_of_bytes(books.db, "ab" * 32) == (job, 1)
    assert lookup.output_of_bytes(books.db, "cd" * 32) is None


def test_results_tell_of_each_image_which_prediction_made_it(books: Books) -> None:
    """
    Number within its prediction, edition among those with images, attempt among all.
    """
    books.move(books.run_one(), E.FAILED, failure=FailureClass.PROVIDER_ERROR, cost=PRICE)
    moved = books.generate(urls=(URL, URL))
    for output in moved.outputs:
        books.store(output.output_seq)
    result = next(row_results(books.db, books.manifest_seq))

    assert [(o.number, o.edition, o.attempt) for o in result.outputs] == [(0, 0, 2), (1, 0, 2)]
    assert {(o.run_id, o.prediction_id, o.file_sha256) for o in result.outputs} == {
        ("run-1", "provider-2", "ab" * 32)
    }
    assert result.cost == 2 * PRICE
