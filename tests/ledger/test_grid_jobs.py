"""The jobs of the live page's grid, from a ledger of either kind."""

from __future__ import annotations

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.rerolls import AddRerolls, RerollPick
from fluxbatch.ledger.queries.grid_jobs import (
    GridJob,
    changed_grid_jobs,
    count_grid_rows,
    count_rerolled,
    grid_jobs,
    grid_rows,
    rerolled_pairs,
)
from fluxbatch.ledger.queries.live_images import ledger_revision
from tests.ledger.support import MODEL, PRICE, Books, make_job, make_rows


def axed(books: Books) -> None:
    """Three jobs, one for each guidance."""
    rows = [row._replace(axes={"guidance": row.number}) for row in make_rows(3)]
    books.manifest_seq = books.import_rows("a sweep", rows)
    books.open_run("run-2")


def all_jobs(books: Books) -> dict[int, GridJob]:
    return {job.seq: job for job in grid_jobs(books.db, books.manifest_seq, 3)}


def test_rows_of_a_sweep_have_their_axes_and_their_jobs(database: Database) -> None:
    """
    Up to a number, with how many there are.
    """
    books = Books.opened(database, jobs=3)
    assert count_grid_rows(books.db, books.manifest_seq) == (0, 0)
    axed(books)
    rows = list(grid_rows(books.db, books.manifest_seq, 2))

    assert [(row.number, row.axes_json) for row in rows] == [
        (1, '{"guidance": 1}'), (2, '{"guidance": 2}')
    ]  # fmt: skip
    assert count_grid_rows(books.db, books.manifest_seq) == (3, 3)
    assert all(row.job_seq in all_jobs(books) for row in rows)


def test_a_job_is_told_with_its_images_and_its_money(database: Database) -> None:
    """
    What is spent, what is held, and the most that one prediction has cost.
    """
    books = Books.opened(database, jobs=3)
    axed(books)
    output = books.generate(1).outputs[0].output_seq
    books.store(output)
    books.move(books.run_one(2), PredictionEvent.FAILED, failure=FailureClass.FILTERED)
    lost = books.buy(3)
    books.move(lost, PredictionEvent.NO_ANSWER)
    done, failed, unknown = (all_jobs(books)[seq] for seq in (1, 2, 3))

    assert done == GridJob(1, JobState.DONE, None, False, PRICE, Micros(0), PRICE, 1, output)
    assert (failed.state, failed.failure) == (JobState.FAILED, "filtered")
    assert (unknown.is_unknown, unknown.reserved, unknown.images) == (True, PRICE, 0)


def test_only_jobs_with_a_newer_line_of_history_are_read_again(database: Database) -> None:
    """
    As if all had been read.
    """
    books = Books.opened(database, jobs=3)
    axed(books)
    books.run_one(1)
    seen = ledger_revision(books.db)
    assert list(changed_grid_jobs(books.db, seen)) == []
    books.store(books.generate(2).outputs[0].output_seq)

    (changed,) = changed_grid_jobs(books.db, seen)

    assert changed == all_jobs(books)[2]


def test_rerolls_are_read_with_the_jobs_they_were_made_of(database: Database) -> None:
    """
    They are in no row of the manifest.
    """
    books = Books.opened(database, jobs=3)
    axed(books)
    books.store(books.generate(1).outputs[0].output_seq)
    assert (count_rerolled(books.db), rerolled_pairs(books.db)) == (0, [])
    books.do(
        AddRerolls(books.now(), MODEL, books.manifest_seq, [RerollPick(make_job(1).job_id, 1, 0)])
    )

    ((made, origin),) = rerolled_pairs(books.db)
    assert (count_rerolled(books.db), origin) == (1, 1)
    assert all_jobs(books)[made].state is JobState.PENDING
