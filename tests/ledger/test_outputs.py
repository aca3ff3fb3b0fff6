"""Outputs: wanted, stored, lost, and what they make of their job.

Source: docs/design/protocol.md 1 and 2.3.
"""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import IllegalTransition, LedgerError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.outputs import StoreOutput
from tests.ledger.support import URL, Books, at, make_rows

E = PredictionEvent
J = JobState


def wanted(books: Books, urls: int = 1, job_seq: int = 1) -> list[int]:
    moved = books.generate(job_seq, [f"{URL}/{number}" for number in range(urls)])
    return [output.output_seq for output in moved.outputs]


def test_a_stored_output_has_all_its_facts(books: Books) -> None:
    """
    Path relative to the dataset, hash, size, kind and measure.
    """
    (output,) = wanted(books)
    assert books.store(output) is J.DONE
    row = books.output(output)
    assert (row["state"], row["path"], row["bytes"]) == ("stored", f"images/{output}.png", 1234)
    assert (row["mime"], row["width"], row["height"]) == ("image/png", 64, 48)
    assert row["stored_at"] == books.job()["ended_at"]


def test_a_job_is_done_when_all_it_asked_for_is_stored(database: Database) -> None:
    """
    Not before the last one.
    """
    books = Books.opened(database, outputs=3)
    outputs = wanted(books, 3)
    assert [books.store(output) for output in outputs] == [J.GENERATED, J.GENERATED, J.DONE]


def test_fewer_images_than_asked_are_kept_and_the_job_fails(database: Database) -> None:
    """
    They are paid; it fails as short_output once they are stored.
    """
    books = Books.opened(database, outputs=3)
    first, second = wanted(books, 2)
    assert books.store(first) is J.GENERATED
    assert books.store(second) is J.FAILED
    assert books.job()["failure"] == "short_output"
    assert books.job()["reason"] == "asked for 3 images, got 2"


def test_more_images_than_asked_are_kept_too(books: Books) -> None:
    """
    What was delivered is paid.
    """
    first, second = wanted(books, 2)
    assert books.store(second) is J.GENERATED
    assert books.store(first) is J.DONE


def test_a_lost_output_fails_its_job_with_the_reason(books: Books) -> None:
    """
    The image is paid and can be repaired for nothing; the job is not bought again.
    """
    (output,) = wanted(books)
    assert books.lose(output, "HTTP 404, eight times") is J.FAILED
    assert (books.job()["failure"], books.job()["reason"]) == (
        "output_lost",
        "HTTP 404, eight times",
    )
    assert books.output(output)["reason"] == "HTTP 404, eight times"


@pytest.mark.parametrize("lost_first", [False, True])
def test_a_job_does_not_fail_while_an_output_of_it_is_still_wanted(
    database: Database, lost_first: bool
) -> None:
    """
    Its end comes with the last output's end, in either order.
    """
    books = Books.opened(database, outputs=2)
    first, second = wanted(books, 2)
    if lost_first:
        assert books.lose(first, "gone") is J.GENERATED
        assert books.store(second) is J.FAILED
        assert books.job()["reason"] == "1 of 2 images could not be fetched"
    else:
        assert books.store(first) is J.GENERATED
        assert books.lose(second, "gone") is J.FAILED
        assert books.job()["reason"] == "gone"
    assert books.job()["failure"] == "output_lost"


def two_successes(books: Books) -> tuple[int, int]:
    first = books.buy()
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    second = books.run_one()
    books.move(first, E.FOUND, provider_id="p-1")
    one, other = (books.move(p, E.SUCCEEDED, urls=(URL,)).outputs[0] for p in (first, second))
    return one.output_seq, other.output_seq


def test_a_second_success_saves_a_job_whose_first_is_lost(books: Books) -> None:
    """
    While its image is wanted the job has not failed.
    """
    first, second = two_successes(books)
    assert books.lose(first) is J.GENERATED
    assert books.store(second) is J.DONE


def test_an_extra_that_is_lost_takes_nothing_from_a_job_that_is_done(books: Books) -> None:
    """
    The first success was enough.
    """
    first, second = two_successes(books)
    assert books.store(first) is J.DONE
    assert books.lose(second) is J.DONE


def test_both_successes_lost_fail_the_job(books: Books) -> None:
    """
    With the last of them.
    """
    first, second = two_successes(books)
    assert books.lose(first) is J.GENERATED
    assert books.lose(second) is J.FAILED


def test_an_output_ends_once(books: Books) -> None:
    """
    Stored or lost, it must be wanted again before it can end again. Where processes share a ledger
    two of them may have fetched the same one: what is stored stays as it is.
    """
    stored, lost = wanted(books), wanted(books, job_seq=2)
    state = books.store(stored[0])
    books.lose(lost[0])
    ended = [stored[0], lost[0]]
    if books.db.name == "postgresql":
        assert books.store(ended[0]) is state
        assert books.lose(ended.pop(0)) is state
    for output in ended:
        with pytest.raises(IllegalTransition):
            books.store(output)
        with pytest.raises(IllegalTransition):
            books.lose(output)


def test_two_outputs_cannot_claim_one_file(books: Books) -> None:
    """
    The second is refused, and nothing of it is written.
    """
    first, second = wanted(books), wanted(books, job_seq=2)
    books.store(first[0])
    with pytest.raises(LedgerError, match="refuses"):
        books.do(StoreOutput(at(9), second[0], f"images/{first[0]}.png", "", 1, "image/png", 1, 1))
    assert books.output(second[0])["state"] == "wanted"
    assert books.job(2)["state"] == "generated"


def test_a_job_of_rows_that_are_gone_still_gets_its_image(books: Books) -> None:
    """
    What is paid is stored, listed or not.
    """
    (output,) = wanted(books)
    books.import_rows("another", make_rows(1, outputs=2))
    assert books.store(output) is J.DONE
