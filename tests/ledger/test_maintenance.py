"""The changes and reads of `repair`, `reconcile` and `cancel`, on both databases."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from fluxbatch.domain.adoption import BY_INPUT
from fluxbatch.domain.job import JobState, PredictionId
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.operations.maintenance import (
    AdoptOrphan,
    RecordCancelRequest,
    RecordRead,
    RequeueOutputs,
)
from fluxbatch.ledger.operations.retry import Retry
from fluxbatch.ledger.queries import audit
from tests.ledger.support import DAY, MODEL, PRICE, URL, Books, E, at, fetch, provider_id

ORPHAN = PredictionId("an-orphan")


def adoption(books: Books, job_seq: int = 1, day: str = DAY) -> AdoptOrphan:
    return AdoptOrphan(
        at=books.now(), job_seq=job_seq, provider_id=ORPHAN, created=at().utc,
        account="account-1", key_fingerprint="f1f1f1f1", key_label="first key",
        run_seq=books.run.seq, run_id=books.run.run_id, price=PRICE, caps=books.caps,
        budget_day=day, seed=7, control_url=None,
    )  # fmt: skip


def done(books: Books, job_seq: int = 1) -> int:
    """A job with its one output stored; answers the output."""
    (output,) = books.generate(job_seq).outputs
    assert books.store(output.output_seq) is JobState.DONE
    return output.output_seq


def test_a_stored_output_is_wanted_again_and_stored_once_more(books: Books) -> None:
    """
    The job goes back to generated, and is done again with its file.
    """
    output = done(books)

    assert books.do(RequeueOutputs(books.now(), 1, [(output, "gone")])) is JobState.GENERATED
    assert books.store(output) is JobState.DONE


def test_wanted_twice_is_wanted_once(books: Books) -> None:
    """
    A repair that was killed begins again.
    """
    output = done(books)
    books.do(RequeueOutputs(books.now(), 1, [(output, "gone")]))

    assert books.do(RequeueOutputs(books.now(), 1, [(output, "gone")])) is JobState.GENERATED


def test_an_output_that_was_lost_revives_its_job(books: Books) -> None:
    """
    Of the failures only those that hang on a file are `repair`'s.
    """
    (output,) = books.generate().outputs
    assert books.lose(output.output_seq) is JobState.FAILED

    again = RequeueOutputs(books.now(), 1, [(output.output_seq, "lost")])
    assert books.do(again) is JobState.GENERATED


def test_a_job_that_failed_of_something_else_stays_failed(books: Books) -> None:
    """
    Another image was asked for and failed; the first one's file comes back all the same.
    """
    output = done(books)
    fetch(books.db, "UPDATE jobs SET state = 'failed', failure = 'cancelled' WHERE seq = 1")

    assert (
        commit_loosely(books, RequeueOutputs(books.now(), 1, [(output, "gone")])) is JobState.FAILED
    )
    assert fetch(books.db, "SELECT state FROM outputs") == [("wanted",)]


def commit_loosely(books: Books, operation: RequeueOutputs) -> JobState:
    """Without the check of everything: the test has changed a row by hand."""
    return dataclasses.replace(books, checked=False).do(operation)


def test_a_job_stays_done_while_one_prediction_has_all_its_files(books: Books) -> None:
    """
    An extra prediction's file is fetched without undoing the job.
    """
    done(books)
    extra = books.do(adoption(books))
    assert extra is not None
    (output,) = books.move(extra, E.SUCCEEDED, urls=(URL,), cost=PRICE).outputs
    books.store(output.output_seq)

    again = RequeueOutputs(books.now(), 1, [(output.output_seq, "gone")])
    assert books.do(again) is JobState.DONE
    assert books.store(output.output_seq) is JobState.DONE


@pytest.mark.parametrize("day", [DAY, "2025-12-31"])
def test_an_orphan_is_booked_on_its_own_day_and_activates_its_job(books: Books, day: str) -> None:
    """
    Its money is reserved until it is read; a day without a line gets one.
    """
    seq = books.do(adoption(books, day=day))

    lines = read_lines(books.db, books.run.run_id, day)
    assert [line.reserved for line in lines] == [PRICE] * 3
    assert fetch(books.db, "SELECT state, predictions FROM jobs WHERE seq = 1") == [("active", 1)]
    assert fetch(books.db, "SELECT adopted, state FROM predictions") == [(BY_INPUT, "running")]
    assert seq is not None
    assert books.move(seq, E.SUCCEEDED, urls=(URL,), cost=PRICE).job_state is JobState.GENERATED


def test_an_orphan_is_adopted_once(books: Books) -> None:
    """
    Whoever comes second finds its id taken, and books nothing.
    """
    books.do(adoption(books))

    assert books.do(adoption(books, job_seq=2)) is None


def test_what_timed_out_is_retried_only_after_it_was_read_again(books: Books) -> None:
    """
    And a prediction in any other state does not care.
    """
    prediction = books.run_one()
    books.move(prediction, E.OVERDUE)
    assert books.do(Retry(books.now())).jobs == 0

    books.do(RecordRead(books.now(), prediction, "the provider says 'error'"))
    assert books.do(Retry(books.now())).jobs == 1

    running = books.run_one(2)
    books.do(RecordRead(books.now(), running, "it runs"))
    marked = "SELECT count(read_again_at) FROM predictions WHERE state = 'running'"
    assert fetch(books.db, marked) == [(0,)]


def test_asking_to_stop_changes_no_state_and_no_money(books: Books) -> None:
    """
    Only that it was asked is written.
    """
    prediction = books.run_one()
    books.do(RecordCancelRequest(books.now(), prediction))

    found = fetch(books.db, "SELECT state, reserved FROM predictions WHERE cancel_asked_at > ''")
    assert found == [("running", PRICE)]


def test_what_an_audit_reads(books: Books) -> None:
    """
    Predictions by id and in order, the span of buying, drifts, files and strays.
    """
    output = done(books)
    unsent = books.buy(2)
    books.move(unsent, E.NOT_SENT)
    running = books.run_one(3)
    books.move(1, E.COST_LEARNED, cost=Micros(2 * PRICE))
    db = books.db

    run = audit.latest_run(db)
    assert run is not None
    assert (run.run_id, run.model) == ("run-1", MODEL)
    names = [PredictionId(provider_id(1)), PredictionId("a stranger's")]
    (known,) = audit.known_predictions(db, names).values()
    assert (known.seq, known.cost, known.was_read_again) == (1, 50_000, False)
    assert [one.seq for one in audit.predictions_after(db, -1)] == [1, running]
    assert audit.predictions_after(db, running) == []
    span = audit.buying_span(db, 2)
    assert span is not None
    assert (span.highest_seq, len(span.cuts)) == (running, 1)
    assert span.cuts[0] - span.began >= timedelta(0)
    assert [tuple(drift) for drift in audit.price_drift(db)] == [(PRICE, 2 * PRICE, 1)]
    assert [one.seq for one in audit.live_now(db)] == [running]
    assert audit.states_of(db, [1, unsent]) == ["succeeded", "unsent"]
    assert [job.seq for job in audit.jobs_after(db, MODEL, 1)] == [2, 3]
    assert [one.seq for one in audit.never_created(db, 2)] == [unsent]
    assert audit.contents_of(db, {"https://nowhere.invalid/"}) == {}
    (file,) = audit.stored_after(db, -1)
    assert (file.output_seq, file.bytes) == (output, 1234)
    assert audit.lost_outputs(db) == []
    assert audit.count_images(db) == (1, 0)
    assert audit.unnamed(db, [file.path, "images/x.png"]) == ["images/x.png"]


def test_an_empty_ledger_has_no_run_and_no_span(books: Books) -> None:
    """
    Nothing was ever bought, so there is nothing to audit.
    """
    assert audit.buying_span(books.db, 10) is None
