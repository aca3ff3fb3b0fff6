"""The details kept of an event beyond its name: ids, times, URLs, messages."""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.state_machine import PredictionEvent
from tests.ledger.support import URL, Books, at

E = PredictionEvent


def test_what_was_learned_once_is_not_erased_by_an_event_that_knows_less(books: Books) -> None:
    """
    Polls add up, the id and the request stay.
    """
    prediction = books.buy()
    books.move(prediction, E.ACCEPTED, provider_id="p-1", request_id="r-1", polls=2)
    books.move(prediction, E.NOT_FINISHED, polls=3)
    books.move(prediction, E.SUCCEEDED, urls=(URL,), run_time_s=2.5, polls=1)
    row = books.prediction(prediction)
    assert (row["provider_id"], row["request_id"]) == ("p-1", "r-1")
    assert (row["polls"], row["run_time_us"]) == (6, 2_500_000)


def test_a_moment_of_another_boot_keeps_only_its_utc(books: Books) -> None:
    """
    Two boots' clocks cannot be compared, so the row never mixes them.
    """
    prediction = books.buy()
    books.move(prediction, E.NO_ANSWER)
    books.move(prediction, E.FOUND, provider_id="p-1", answered=at(90, boot="boot-2"))
    row = books.prediction(prediction)
    assert row["answered_at"] == "2026-01-01T00:01:30.000000Z"
    assert row["answered_boot_us"] is None
    assert row["boot_id"] == "boot-1"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://cdn.example.com/a/b.png?X-Amz-Signature=s#f", "https://cdn.example.com/a/b.png"),
        ("https://user:pass@h:8443/a.png", "https://h:8443/a.png"),
        ("https://[::1]:80/a@b.png?t", "https://[::1]:80/a@b.png"),
        ("https://[bad", "https://[bad"),
        ("h:notaport/\0?token", "h:notaport/\ufffd"),
    ],
)
def test_a_url_is_kept_without_what_may_open_it(books: Books, url: str, kept: str) -> None:
    """
    Whatever the provider sent as a URL, the success is recorded.
    """
    moved = books.generate(urls=(url,))
    assert books.output(moved.outputs[0].output_seq)["url"] == kept


def test_words_that_no_database_could_keep_are_cleaned(books: Books) -> None:
    """
    A NUL or half a surrogate pair in an error message must not stop the run.
    """
    books.move(books.run_one(), E.FAILED, failure=FailureClass.FILTERED, reason="a\0b\ud800c é")
    assert books.job()["reason"] == "a\ufffdb?c é"
