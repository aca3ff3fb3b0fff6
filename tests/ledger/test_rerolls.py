"""Rerolls in the ledger: jobs of their own that no manifest removes.

Source: docs/design/protocol.md 1.
"""

from __future__ import annotations

import json

import pytest

from fluxbatch.domain.job import FailureClass, Input, JobState, job_id, reroll_seed
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.rerolls import AddedRerolls, AddRerolls, RerollPick
from fluxbatch.ledger.operations.retry import Retried, Retry
from fluxbatch.ledger.queries.rerolled_jobs import count_rerolls, reroll_manifest, reroll_origin
from fluxbatch.ledger.queries.results import RowResult, row_results
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest
from fluxbatch.ledger.queries.totals import count_jobs
from tests.ledger.support import MODEL, Books, all_rows, make_job, make_row, make_rows

ORIGIN = make_job(1).job_id


@pytest.fixture
def books(database: Database) -> Books:
    """Three jobs, the first of them done."""
    books = Books.opened(database, jobs=3)
    books.store(books.generate(1).outputs[0].output_seq)
    return books


def reroll(books: Books, *picks: RerollPick) -> AddedRerolls:
    return books.do(AddRerolls(books.now(), MODEL, books.manifest_seq, picks))


def rerolled(books: Books) -> list[RowResult]:
    manifest = latest_manifest(books.db)
    assert manifest is not None
    return [row for row in row_results(books.db, manifest.seq) if row.reroll]


def test_a_reroll_is_a_job_of_its_own_with_the_next_seed(books: Books) -> None:
    """
    Its id is that of a row which gives this seed, so it is the same one each time.
    """
    added = reroll(books, RerollPick(ORIGIN, 1, 0), RerollPick(ORIGIN, 1, 1))

    assert (added.added, added.known) == (2, 0)
    first, second = rerolled(books)
    given = {**make_job(1).input, "seed": reroll_seed(ORIGIN, 1)}
    assert (first.reroll, second.reroll) == (1, 2)
    assert first.job_id == job_id(MODEL, given)
    assert first.input == given
    assert second.input["seed"] == reroll_seed(ORIGIN, 2)
    assert {row.reroll_of for row in (first, second)} == {ORIGIN}
    assert (first.number, first.line, first.user_id) == (1, 2, "row-1")
    assert first.state is second.state is JobState.PENDING


def test_a_row_that_gives_the_seed_gets_another(books: Books) -> None:
    """
    The derived one stands for it.
    """
    given: Input = {"prompt": "a lighthouse", "seed": 7}
    row = make_row(1, make_job(1)._replace(job_id=job_id(MODEL, given), input=given))
    books.manifest_seq = books.import_rows("with seeds", [row])
    name = job_id(MODEL, given)

    reroll(books, RerollPick(name, 1, 0))

    (again,) = rerolled(books)
    assert again.input == {"prompt": "a lighthouse", "seed": reroll_seed(name, 1)}


def test_the_same_pick_again_adds_nothing(books: Books) -> None:
    """
    Whoever picked before somebody else's reroll was added is too late.
    """
    pick = RerollPick(ORIGIN, 1, 0)
    assert reroll(books, pick).added == 1
    late = reroll(books, pick)

    assert (late.added, late.known) == (0, 1)
    assert len(rerolled(books)) == 1


def test_an_import_neither_removes_rerolls_nor_lists_them(books: Books) -> None:
    """
    Not of the same manifest, not again because a file changed, not of another that names the row;
    and none of them makes a run submit what waits for `reroll`.
    """
    reroll(books, RerollPick(ORIGIN, 1, 0))
    (before,) = rerolled(books)
    rows, moved = make_rows(3), [make_row(9, make_job(1), user_id="moved")]

    for name, given, anew in (
        ("manifest-1", rows, False),
        ("manifest-1", rows, True),
        ("another", moved, False),
    ):
        seq = books.import_rows(name, given, anew=anew)
        assert count_jobs(books.db, seq).of(JobState.PENDING) == len(given) - 1
        (now,) = rerolled(books)
        assert now.job_id == before.job_id
    assert (now.number, now.user_id) == (9, "moved"), "they are their row's, wherever that is"
    books.import_rows("without it", [make_row(1, make_job(2))])
    assert rerolled(books) == []


def test_rerolls_are_listed_in_a_manifest_that_is_never_the_latest(books: Books) -> None:
    """
    What people see is their own manifest's.
    """
    added = reroll(books, RerollPick(ORIGIN, 1, 0))

    assert reroll_manifest(books.db, MODEL) == added.manifest_seq
    assert count_jobs(books.db, added.manifest_seq).total == 1
    latest = latest_manifest(books.db)
    assert latest is not None
    assert latest.seq == books.manifest_seq
    assert count_rerolls(books.db) == {JobState.PENDING: 1}


def test_one_that_failed_is_left_and_the_next_number_stands_for_it(books: Books) -> None:
    """
    It is counted no more, so that a later reroll may end with exit 0.
    """
    seq = reroll(books, RerollPick(ORIGIN, 1, 0)).manifest_seq
    prediction = books.run_one(4)
    books.move(prediction, PredictionEvent.FAILED, failure=FailureClass.FILTERED)
    assert count_rerolls(books.db) == {JobState.FAILED: 1}

    reroll(books, RerollPick(ORIGIN, 1, 1))

    assert count_rerolls(books.db) == {JobState.PENDING: 1}
    assert count_jobs(books.db, seq).by_state == {JobState.PENDING: 1}
    assert [row.reroll for row in rerolled(books)] == [1, 2]
    assert books.do(Retry(books.now())) == Retried(0, {})
    assert [row.state for row in rerolled(books)] == [JobState.FAILED, JobState.PENDING]


def test_the_latest_that_failed_is_retried_as_any_job(books: Books) -> None:
    """
    No other stands for it yet; `reroll` makes it, for it is listed.
    """
    seq = reroll(books, RerollPick(ORIGIN, 1, 0)).manifest_seq
    books.move(books.run_one(4), PredictionEvent.FAILED, failure=FailureClass.FILTERED)

    assert books.do(Retry(books.now())) == Retried(1, {})
    assert count_jobs(books.db, seq).by_state == {JobState.PENDING: 1}


def test_a_job_that_is_there_already_is_not_made_again(books: Books) -> None:
    """
    A row that gives just this seed, or a ledger that was written anew from its images.
    """
    given = {**make_job(1).input, "seed": reroll_seed(ORIGIN, 1)}
    row = make_row(4, make_job(1)._replace(job_id=job_id(MODEL, given), input=given))
    books.manifest_seq = books.import_rows("by hand", [make_row(1, make_job(1)), row])
    jobs = len(all_rows(books.db, schema.jobs))

    told = reroll(books, RerollPick(ORIGIN, 1, 0))

    assert (told.added, told.known) == (0, 1)
    assert len(all_rows(books.db, schema.jobs)) == jobs
    (again,) = rerolled(books)
    assert again.job_id == job_id(MODEL, given)


def test_a_row_s_own_job_that_a_reroll_equals_stays_listed_when_it_failed(books: Books) -> None:
    """
    The next number stands for the reroll, and nothing for the row.
    """
    given = {**make_job(1).input, "seed": reroll_seed(ORIGIN, 1)}
    row = make_row(4, make_job(1)._replace(job_id=job_id(MODEL, given), input=given))
    books.manifest_seq = books.import_rows("by hand", [make_row(1, make_job(1)), row])
    own = max(job["seq"] for job in all_rows(books.db, schema.jobs))
    books.move(books.run_one(own), PredictionEvent.FAILED, failure=FailureClass.FILTERED)
    reroll(books, RerollPick(ORIGIN, 1, 0))
    reroll(books, RerollPick(ORIGIN, 1, 1))

    assert count_jobs(books.db, books.manifest_seq).of(JobState.FAILED) == 1
    assert books.do(Retry(books.now())) == Retried(1, {})


def test_its_origin_is_told(books: Books) -> None:
    """
    By the job, its number and the row it had then; other jobs have none.
    """
    reroll(books, RerollPick(ORIGIN, 1, 0))
    origin = reroll_origin(books.db, 4)

    assert origin is not None
    assert (origin.job_seq, origin.job_id, origin.number, origin.row_number) == (1, ORIGIN, 1, 1)
    assert reroll_origin(books.db, 1) is None


def test_rows_that_share_a_job_each_get_its_rerolls(books: Books) -> None:
    """
    With their own ids, in the order of the rows.
    """
    rows = [make_row(n, make_job(1), user_id=name) for n, name in ((1, "a"), (2, "b"))]
    books.manifest_seq = books.import_rows("twice", rows)
    reroll(books, RerollPick(ORIGIN, 1, 0), RerollPick(ORIGIN, 1, 1))

    assert [(row.user_id, row.reroll) for row in rerolled(books)] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
    ]
    kept = all_rows(books.db, schema.rows)[-1]
    assert json.loads(kept["meta_json"] or "{}") == {}
