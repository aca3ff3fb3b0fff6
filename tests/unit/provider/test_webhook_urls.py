"""The check of a call at a webhook's address, before sockets come into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import Prediction, Status, WebhookAttempt, WebhookReceiver, WebhookUrls

KEY = bytes(range(32))
NAMES = WebhookUrls(KEY, "https://hooks.example.org/fluxbatch")
ATTEMPT = WebhookAttempt(7, 1_780_000_000_123_456)
ADDRESS = NAMES.address(ATTEMPT)
PATH = urlsplit(ADDRESS.url).path

Heard = list[tuple[WebhookAttempt, Prediction | None]]


def _receiver() -> tuple[WebhookReceiver, Heard]:
    heard: Heard = []
    return WebhookReceiver(WebhookUrls(KEY), lambda *told: heard.append(told)), heard


def _status(method: str, path: str, secret: str) -> int:
    return _receiver()[0].authorize(method, path, secret).status


def test_an_address_opens_for_its_own_attempt_whatever_a_proxy_puts_before_it() -> None:
    """
    A proxy may strip the public path or add to it.
    """
    receiver, _ = _receiver()

    for path in (PATH, PATH.removeprefix("/fluxbatch"), f"/deep/inside{PATH}"):
        assert receiver.authorize("POST", path, ADDRESS.secret).attempt == ATTEMPT


def test_calls_that_are_none_of_ours_are_told_and_the_others_are_not() -> None:
    refused = list[str]()
    receiver = WebhookReceiver(
        WebhookUrls(KEY), lambda *_: None, on_refused=lambda: refused.append("refused")
    )

    receiver.authorize("POST", PATH, ADDRESS.secret)
    receiver.authorize("GET", urlsplit(NAMES.health.url).path, "")
    assert refused == []

    receiver.authorize("POST", PATH, "a guess")
    receiver.authorize("POST", "/robots.txt", "")
    assert refused == ["refused", "refused"]


def test_addresses_are_derived_so_a_restart_knows_them_and_no_two_are_alike() -> None:
    """
    The same key gives the same address; another attempt, another moment or another key does not.
    """
    again = WebhookUrls(KEY, NAMES.public_url)
    others = [
        NAMES.address(WebhookAttempt(8, ATTEMPT.intended_us)),
        NAMES.address(WebhookAttempt(7, ATTEMPT.intended_us + 1)),
        WebhookUrls(b"x" * 32, NAMES.public_url).address(ATTEMPT),
    ]

    assert again.address(ATTEMPT) == ADDRESS
    tokens = {one.url.rsplit("/", 1)[1] for one in others}
    assert len({ADDRESS.url.rsplit("/", 1)[1], *tokens}) == 4
    assert ADDRESS.secret not in {one.secret for one in others}
    assert ADDRESS.secret not in ADDRESS.url


def test_a_moment_of_the_ledger_names_the_same_attempt_to_the_microsecond() -> None:
    """
    Whole microseconds, by integers alone: a float would lose some of them.
    """
    at = datetime(2026, 8, 1, 12, 0, 0, 123_457, UTC)

    assert WebhookAttempt.of(3, Timestamp(at, "boot", 1.0)).intended_us % 1_000_000 == 123_457


@pytest.mark.parametrize(
    ("method", "path", "secret", "status"),
    [
        ("POST", PATH, ADDRESS.secret, 200),
        ("POST", PATH, "", 403),
        ("POST", PATH, ADDRESS.secret[:-1], 403),
        ("POST", PATH, ADDRESS.secret + "0", 403),
        ("POST", PATH, "é\udcff", 403),
        ("GET", PATH, ADDRESS.secret, 405),
        ("PUT", PATH, ADDRESS.secret, 405),
        ("POST", PATH[:-1], ADDRESS.secret, 404),
        ("POST", PATH.replace("/7-", "/8-"), ADDRESS.secret, 404),
        ("POST", PATH + "/", ADDRESS.secret, 404),
        ("POST", "/", ADDRESS.secret, 404),
        ("POST", "", ADDRESS.secret, 404),
        ("POST", "/9999999999999999999999-1/x", ADDRESS.secret, 404),
    ],
)
def test_only_the_right_path_with_the_right_word_is_let_in(
    method: str, path: str, secret: str, status: int
) -> None:
    """
    Any other path is nobody's, another method is refused, and so is another word.
    """
    assert _status(method, path, secret) == status


@given(st.text(), st.text(), st.text())
def test_nothing_else_is_ever_let_in_and_nothing_crashes(method: str, path: str, word: str) -> None:
    """
    Whatever text a stranger sends.
    """
    assert _status(method, path, word) == 404
    assert _status("POST", PATH, word) == 403


def test_the_health_path_answers_with_a_word_that_nobody_else_knows() -> None:
    """
    Read only; and the word is not in its path.
    """
    health, receiver = NAMES.health, _receiver()[0]
    path = urlsplit(health.url).path

    assert receiver.authorize("GET", path, "").body.decode() == health.secret
    assert _status("POST", path, "") == 405
    assert _status("GET", path[:-1], "") == 404
    assert health.secret not in health.url


@pytest.mark.parametrize(
    ("body", "status", "urls"),
    [
        ({"status": "succeeded", "output": "https://o.example/1.webp"}, Status.SUCCEEDED, 1),
        (
            {"status": "succeeded", "output": [{"url": "https://o.example/1"}] * 2, "flow_id": ""},
            Status.SUCCEEDED,
            2,
        ),
        ({"status": "succeeded", "output": None}, Status.SUCCEEDED, 0),
        ({"status": "failed", "error": "NSFW content"}, Status.FAILED, 0),
        ({"status": "failed", "output": [{"error": "out of memory"}]}, Status.FAILED, 0),
        ({"status": "warming"}, Status.NOT_FINISHED, 0),
    ],
)
def test_both_dialects_are_understood(body: dict[str, object], status: Status, urls: int) -> None:
    """
    The card's `error`, the docs' `output[0].error` and `flow_id`, one URL or a list.
    """
    receiver, heard = _receiver()
    receiver.receive(ATTEMPT, json.dumps({"exec_id": "p-1", **body}).encode())

    ((attempt, told),) = heard
    assert attempt == ATTEMPT
    assert told is not None
    assert (told.prediction_id, told.status, len(told.urls)) == ("p-1", status, urls)


@given(st.none() | st.binary() | st.builds(lambda v: json.dumps(v).encode(), st.text() | st.none()))
def test_a_body_that_says_nothing_is_told_as_unreadable(body: bytes | None) -> None:
    """
    It is verified all the same: something has happened, and asking will show what.
    """
    receiver, heard = _receiver()
    receiver.receive(ATTEMPT, body)

    assert heard == [(ATTEMPT, None)]


def test_nothing_secret_is_printed() -> None:
    """
    Not by accident, in any traceback or log.
    """
    for thing in (ADDRESS, NAMES, _receiver()[0].authorize("POST", PATH, ADDRESS.secret)):
        assert ADDRESS.secret not in repr(thing)
        assert PATH not in repr(thing)
        assert KEY.hex() not in repr(thing)


def test_a_key_of_another_length_is_refused() -> None:
    """
    Half a file is no key.
    """
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        WebhookUrls(b"abc")
