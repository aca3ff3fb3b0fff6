"""The contract's error table, row by row, as the client raises it."""

from __future__ import annotations

import pytest

from fluxbatch.domain.job import PredictionId
from fluxbatch.errors import (
    AmbiguousCreate,
    ApiError,
    BalanceTooLow,
    EndpointWrong,
    KeyRefused,
    NotFound,
    NotSent,
    QuotaExceeded,
    RejectedRequest,
    TransientApiError,
)
from tests.support.clients import client_of
from tests.support.scripted_server import Answer, scripted_server

P = PredictionId("p-1")
HTML = (
    b"<html><head><title>502</title><style>a{}</style></head><body>Bad <b>Gateway</b></body></html>"
)


async def create_error(answer: Answer) -> ApiError:
    async with scripted_server(answer) as server, client_of(server.base_url) as client:
        with pytest.raises(ApiError) as caught:
            await client.create("flux-depth-dev", {"prompt": "x"})
        assert len(server.requests) == 1, "a create is sent once"
    assert caught.value.status == answer.status
    assert caught.value.request_id == server.requests[0].headers["X-Request-Id"]
    return caught.value


async def read_error(answer: Answer) -> tuple[ApiError, int]:
    async with scripted_server(answer) as server, client_of(server.base_url) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(P)
    assert caught.value.status == answer.status
    assert caught.value.request_id == server.requests[-1].headers["X-Request-Id"]
    return caught.value, len(server.requests)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, EndpointWrong),
        (302, EndpointWrong),
        (303, EndpointWrong),
        (307, EndpointWrong),
        (308, EndpointWrong),
        (400, RejectedRequest),
        (401, KeyRefused),
        (402, BalanceTooLow),
        (403, KeyRefused),
        (404, EndpointWrong),
        (405, RejectedRequest),
        (408, AmbiguousCreate),
        (409, RejectedRequest),
        (413, RejectedRequest),
        (422, RejectedRequest),
        (429, QuotaExceeded),
        (451, RejectedRequest),
        (500, AmbiguousCreate),
        (502, AmbiguousCreate),
        (503, AmbiguousCreate),
        (504, AmbiguousCreate),
        (599, AmbiguousCreate),
    ],
)
@pytest.mark.parametrize(
    "body",
    [{"status": "error", "message": "so it is", "details": "because"}, {"error": "so it is"}],
    ids=["card", "docs"],
)
async def test_each_status_of_a_create_means_what_the_contract_says(
    status: int, kind: type[ApiError], body: object
) -> None:
    """
    Sent once, whatever the status; the error's class is the row of the table.
    """
    error = await create_error(Answer(status, body, {"Location": "https://elsewhere.example/"}))
    assert type(error) is kind
    if status >= 400:
        assert "so it is" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (307, EndpointWrong, 1),
        (400, RejectedRequest, 1),
        (401, KeyRefused, 1),
        (402, BalanceTooLow, 1),
        (403, KeyRefused, 1),
        (404, NotFound, 1),
        (408, TransientApiError, 3),
        (422, RejectedRequest, 1),
        (429, QuotaExceeded, 3),
        (500, TransientApiError, 3),
        (503, TransientApiError, 3),
    ],
)
async def test_each_status_of_a_read_means_what_the_contract_says(
    status: int, kind: type[ApiError], tries: int
) -> None:
    """
    A read costs nothing, so what may pass is tried again, and only that.
    """
    error, tried = await read_error(Answer(status, {"error": "no"}))
    assert type(error) is kind
    assert tried == tries


@pytest.mark.parametrize("body", [b"", HTML, b"\xff\xfe\x00", b"null", b"[]", b'"oops"'])
@pytest.mark.parametrize("status", [400, 502])
async def test_a_gateway_may_answer_with_anything(status: int, body: bytes) -> None:
    """
    HTML, nothing or noise: the status still decides.
    """
    kind = RejectedRequest if status == 400 else AmbiguousCreate
    error = await create_error(Answer(status, body))
    assert type(error) is kind
    assert "<" not in str(error)


async def test_the_words_of_an_html_page_are_told_without_its_markup() -> None:
    """
    People read a sentence, not a page.
    """
    error = await create_error(Answer(502, HTML))
    assert "Bad Gateway" in str(error)
    assert "a{}" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        {},
        {"status": "success", "message": "queued"},
        {"predictionID": None},
        {"predictionID": ""},
        {"predictionID": "../cancel all"},
        {"predictionID": ".."},
        {"predictionID": True},
        {"predictionID": ["p"]},
        {"status": "error", "message": "no"},
        [],
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_an_accepted_create_without_a_readable_id_is_ambiguous(
    status: int, body: object
) -> None:
    """
    It may be billed: looked for, never sent again.
    """
    async with (
        scripted_server(Answer(status, body)) as server,
        client_of(server.base_url) as client,
    ):
        with pytest.raises(AmbiguousCreate):
            await client.create("m", {})
    assert len(server.requests) == 1


async def test_an_unknown_model_is_named() -> None:
    """
    The run stops, so the message must say what to correct.
    """
    error = await create_error(Answer(404, {"error": "model not found"}))
    assert "'flux-depth-dev'" in str(error)


@pytest.mark.parametrize(
    ("details", "by_concurrency"),
    [
        ("10 concurrent predictions at most", True),
        ({"limit": "concurrency", "max": 10}, True),
        (["too many in flight"], True),
        ("100 creates per minute", False),
        ({"limit": "rate"}, False),
        (None, False),
    ],
)
async def test_a_429_says_which_limit_where_it_can(details: object, by_concurrency: bool) -> None:
    """
    The lane waits for a slot, or for the window.
    """
    error = await create_error(Answer(429, {"message": "slow down", "details": details}))
    assert isinstance(error, QuotaExceeded)
    assert error.by_concurrency is by_concurrency


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("900", 600.0),
        ("1795698337", None),
        ("Fri, 01 Jan 2055 00:00:00 GMT", None),
        ("1e308", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(given: str, seconds: float | None) -> None:
    """
    A date is read against the provider's own clock, which may be years off ours. No wait that a
    stranger names is longer than ten minutes; an epoch or another decade is no wait at all.
    """
    headers = {"Retry-After": given, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    error = await create_error(Answer(429, {}, headers))
    assert isinstance(error, QuotaExceeded)
    assert error.retry_after_s == seconds


async def test_the_providers_own_request_id_is_kept() -> None:
    """
    Its support can only find what it named itself.
    """
    answer = Answer(400, {"error": "no"}, {"X-Request-Id": "theirs-1"})
    async with scripted_server(answer) as server, client_of(server.base_url) as client:
        with pytest.raises(RejectedRequest) as caught:
            await client.create("m", {})
    assert caught.value.request_id == "theirs-1"


async def test_a_read_that_recovers_is_answered() -> None:
    """
    Two bad answers and a good one: the caller sees the good one.
    """
    answers = (
        Answer(503, b""),
        Answer(200, b"<html>"),
        Answer(200, {"status": "processing"}),
    )
    async with scripted_server(*answers) as server, client_of(server.base_url) as client:
        assert (await client.get(P)).word == "processing"
    ids = [request.headers["X-Request-Id"] for request in server.requests]
    assert len(set(ids)) == 3


async def test_a_read_told_to_wait_longer_than_it_may_is_the_callers_to_wait() -> None:
    """
    The client neither sits through a long `Retry-After` nor disregards it.
    """
    answer = Answer(429, {}, {"Retry-After": "120"})
    error, tries = await read_error(answer)
    assert isinstance(error, QuotaExceeded)
    assert error.retry_after_s == 120.0
    assert tries == 1


async def test_a_read_without_a_connection_is_transient_and_not_a_create_unsent() -> None:
    """
    `NotSent` speaks of creates alone.
    """
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(TransientApiError) as caught:
            await client.get(P)
    assert not isinstance(caught.value, NotSent)
