"""The notes on images, and `retry --quality`. Source: docs/design/protocol.md 1 and 2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fluxbatch.domain.job import Job, JobState, Quality, derived_seed, job_id
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.retry_quality import Reseeded, RetryQuality
from fluxbatch.ledger.queries.quality_notes import Noted, count_notes, noted_outputs
from fluxbatch.ledger.queries.queue import QUEUE_START, pending_jobs
from tests.ledger.support import MODEL, PRICE, Books, all_rows, at, make_row

E = PredictionEvent
Q = Quality
GREY = "80" * 12
BLACK = {"quality": (Q.BLACK,)}


def make(books: Books, job_seq: int, **seen: Any) -> int:
    """A job made, its image looking like *seen*."""
    moved = books.generate(job_seq)
    (output,) = moved.outputs
    books.store(output.output_seq, **seen)
    return output.output_seq


def asked(books: Books, **given: Any) -> None:
    """A second manifest whose one job, the ledger's next, asks for *given*."""
    given = {"prompt": "a lighthouse", **given}
    row = make_row(1, Job(job_id(MODEL, given), MODEL, given))
    books.open_run("run-2", manifest_seq=books.import_rows("manifest-2", [row]))


def test_notes_and_the_fingerprint_are_kept_with_the_output(books: Books) -> None:
    """
    As a JSON list, empty where nothing was noticed.
    """
    black, plain = make(books, 1, **BLACK), make(books, 2, dhash=f"00ff00ff00ff00ff-{GREY}")
    assert (books.output(black)["quality_json"], books.output(black)["dhash"]) == (
        '["black"]',
        None,
    )
    assert books.output(plain)["quality_json"] == "[]"
    assert books.output(plain)["dhash"] == f"00ff00ff00ff00ff-{GREY}"
    assert books.job(1)["state"] == "done"
    assert noted_outputs(books.db) == [Noted(black, 1, (Q.BLACK,), None)]


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ({}, False),  # the request names no size
        ({"megapixels": "1"}, True),
        ({"megapixels": "0.003"}, False),
        ({"megapixels": "match_input"}, False),
        ({"width": 64, "height": 48}, False),
        ({"width": 48, "height": 64}, True),
        ({"width": 64}, False),
        ({"prompt": '"width" and "megapixels"'}, False),
    ],
)
def test_a_size_unlike_the_request_is_noted(
    books: Books, given: dict[str, Any], noted: bool
) -> None:
    """
    An image of 64 x 48: exact where sides are asked for, within a factor for megapixels.
    """
    asked(books, **given)
    output = make(books, 4)
    assert json.loads(books.output(output)["quality_json"]) == (["size"] if noted else [])


def test_near_duplicates_name_the_earlier_output(books: Books) -> None:
    """
    Beside what else is noticed; black images have no fingerprint and are nobody's duplicate.
    """
    first = make(books, 1, dhash=f"00ff00ff00ff00ff-{GREY}")
    second = make(books, 2, dhash=f"00ff00ff00ff00fe-{GREY}", quality=(Q.SIZE,))
    make(books, 3, dhash=f"ff00ff00ff00ff00-{GREY}")
    assert noted_outputs(books.db) == [Noted(second, 2, (Q.SIZE, Q.DUPLICATE), first)]
    assert count_notes(books.db) == {Q.SIZE: 1, Q.DUPLICATE: 1}


def test_retry_of_a_note_makes_the_image_anew_with_another_seed(books: Books) -> None:
    """
    Done to pending with the next ordinal; what is there stays, its money too.
    """
    old = make(books, 1, **BLACK)
    make(books, 2)
    assert books.do(RetryQuality(at(99), [Q.BLACK])) == Reseeded(1, 0, 0)
    job = books.job(1)
    assert (job["state"], job["reseed"], job["ended_at"]) == ("pending", 1, None)
    assert books.job(2)["state"] == "done"
    line = all_rows(books.db, schema.history)[-1]
    assert (line["event"], line["was"], line["reason"]) == (
        "reseeded",
        "done",
        "its image was black",
    )
    assert books.money == (0, 2 * PRICE, 0)

    (queued, *_), _ = pending_jobs(books.db, books.manifest_seq, QUEUE_START, 10)
    assert derived_seed(queued.job_id, queued.reseed) != derived_seed(queued.job_id)
    moved = books.generate(1)
    assert moved.edition == 1
    assert books.store(moved.outputs[0].output_seq) is JobState.DONE
    assert books.output(old)["state"] == "stored"
    assert books.money == (0, 3 * PRICE, 0)


def test_the_second_image_is_the_one_that_counts(books: Books) -> None:
    """
    A good one ends it; one that is black again may be asked for once more, with a third seed.
    """
    make(books, 1, **BLACK)
    books.do(RetryQuality(at(99), [Q.BLACK]))
    make(books, 1, **BLACK)
    assert books.do(RetryQuality(at(100), [Q.BLACK])) == Reseeded(1, 0, 0)
    make(books, 1)
    assert count_notes(books.db) == {}
    assert books.do(RetryQuality(at(101), [Q.BLACK])) == Reseeded(0, 0, 0)
    assert books.job(1)["reseed"] == 2


def test_a_retried_note_stays_under_the_budget(database: Database) -> None:
    """
    The new image is a purchase like any other: at the cap there is none.
    """
    caps = {"run": Micros(2 * PRICE), "day": None, "dataset": None}
    books = Books.opened(database, jobs=2, caps=caps)  # type: ignore[arg-type]  # the three scopes
    make(books, 1, **BLACK)
    make(books, 2, **BLACK)
    assert books.do(RetryQuality(at(99), [Q.BLACK, Q.FLAT])) == Reseeded(2, 0, 0)
    assert type(books.try_buy(1)).__name__ == "OverBudget"
    assert books.job(1)["state"] == "pending"
    assert books.money == (0, 2 * PRICE, 0)


def test_a_job_whose_row_gives_the_seed_stays(books: Books) -> None:
    """
    The same seed would buy the same black image.
    """
    asked(books, seed=7)
    make(books, 4, **BLACK)
    assert books.do(RetryQuality(at(99), [Q.BLACK])) == Reseeded(0, 1, 0)
    assert books.job(4)["state"] == "done"


def test_a_job_with_another_prediction_alive_stays(books: Books) -> None:
    """
    A create counted as absent, bought again and done; then the first was found after all.
    """
    first = books.buy(1)
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    make(books, 1, **BLACK)
    books.move(first, E.FOUND, provider_id="provider-late")
    assert books.do(RetryQuality(at(99), [Q.BLACK])) == Reseeded(0, 0, 1)
    assert books.job(1)["state"] == "done"
