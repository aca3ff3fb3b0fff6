"""The parsing of bodies in both dialects; no body whatever breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.money import Micros
from fluxbatch.infra.redaction import sanitize
from fluxbatch.provider import responses, status_errors
from fluxbatch.provider.json_fields import MalformedResponse, moment_of
from fluxbatch.provider.output_urls import urls_of
from fluxbatch.provider.responses import Status
from fluxbatch.provider.transport import HttpResponse

A, B = "https://cdn.example/a.webp", "https://cdn.example/b.webp"


def prediction(**fields: object) -> responses.Prediction:
    return responses.prediction(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "message": "ok", "predictionID": "p-1"},
        {"prediction_id": "p-1"},
        {"id": "p-1"},
        {"data": {"id": "p-1"}},
        {"predictionID": "p-1", "id": "another"},
    ],
)
def test_a_create_is_answered_with_an_id_by_any_of_its_names(body: object) -> None:
    """
    Card and docs disagree on the name.
    """
    assert responses.created(json.dumps(body).encode()) == "p-1"


def test_a_number_can_be_an_id() -> None:
    """
    It is only ever put back into a path.
    """
    assert responses.created(b'{"id": 17}') == "17"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", Status.NOT_FINISHED),
        ("starting", Status.NOT_FINISHED),
        ("processing", Status.NOT_FINISHED),
        ("queued", Status.NOT_FINISHED),
        ("success", Status.SUCCEEDED),
        ("succeeded", Status.SUCCEEDED),
        ("completed", Status.SUCCEEDED),
        ("SUCCESS", Status.SUCCEEDED),
        ("error", Status.FAILED),
        ("failed", Status.FAILED),
        ("cancelled", Status.CANCELLED),
        ("canceled", Status.CANCELLED),
    ],
)
def test_the_status_words_of_both_dialects_are_known(word: str, status: Status) -> None:
    """
    The contract's table.
    """
    told = prediction(status=word)
    assert told.status is status
    assert told.has_known_word


def test_an_unknown_status_word_counts_as_not_finished_and_is_told() -> None:
    """
    It ends at the job's deadline, and is worth one notice.
    """
    told = prediction(status="marinating")
    assert told.status is Status.NOT_FINISHED
    assert told.word == "marinating"
    assert not told.has_known_word


@pytest.mark.parametrize(
    ("output", "urls"),
    [
        (A, (A,)),
        ([A, B], (A, B)),
        ({"url": A}, (A,)),
        ({"images": [A, B]}, (A, B)),
        ({"images": [{"url": A}, {"url": B}]}, (A, B)),
        ([{"url": A, "thumbnail_url": B}], (A,)),
        ({"url": A, "images": [B]}, (A,)),
        (json.dumps([A, B]), (A, B)),
        ([[A], [B]], (A, B)),
        (None, ()),
        ("", ()),
        ("done", ()),
        ({}, ()),
        ([None, 3, True, {"url": None}], ()),
        ("data:image/png;base64,AAAA", ("data:image/png;base64,AAAA",)),
        ("ftp://a/b", ("ftp://a/b",)),
        ("//cdn.example/a.webp", (A,)),
        ("out/a.webp", ("out/a.webp",)),
        (f" {A}\r\n", (A,)),
        (f"{A}?sig=a b\x01c", (f"{A}?sig=a%20b%01c",)),
        (f"{A}?\ud800", (f"{A}?%ED%A0%80",)),
        ({"result": {"href": A}, "size": [1, 2]}, (A,)),
        ([A, "ftp://a/b"], (A, "ftp://a/b")),
        ({"error": "see https://help.example/nsfw"}, ()),
    ],
)
def test_an_output_of_any_shape_gives_its_urls_in_order(
    output: object, urls: tuple[str, ...]
) -> None:
    """
    A text, a list, an object, a list of objects: all four are sent somewhere.
    """
    assert prediction(status="success", output=output).urls == urls


def test_money_and_time_are_read_where_they_are_told() -> None:
    """
    Absent is not zero.
    """
    told = prediction(status="success", metrics={"predict_time": 9.5, "cost": 0.025})
    assert told.cost == Micros(25_000)
    assert told.run_time_s == 9.5
    assert prediction(status="success", metrics={"cost": 0}).cost == Micros(0)
    untold: list[object] = [{}, None, [], {"cost": None}, {"cost": "a lot"}, {"cost": True}]
    for metrics in (*untold, {"cost": -1}):
        assert prediction(status="success", metrics=metrics).cost is None
    assert responses.prediction(b'{"status":"success","metrics":{"cost":NaN}}').cost is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"message": "GPU lost", "details": "node 7"}, "GPU lost: node 7"),
        ({"message": "GPU lost", "details": {"error": "node 7"}}, "GPU lost: node 7"),
        ({"details": ["a", "b"]}, "a; b"),
        (
            {"message": "no", "details": {"limit": "rate", "allowed": 9}},
            "no: limit: rate, allowed: 9",
        ),
        ({"message": "no", "details": {"at": ["x", "y"]}}, 'no: {"at": ["x", "y"]}'),
        ({"logs": "loading\nstep 3\nout of memory\n\n"}, "out of memory"),
        ({"logs": ["one", "two"]}, "two"),
        ({"output": {"error_code": "OOM", "error_message": "no memory"}}, "OOM: no memory"),
        ({"error": "it broke"}, "it broke"),
        ({"output": [{"error": "it broke"}], "error": ""}, "it broke"),
        ({"output": "it broke"}, "it broke"),
        ({"error": {"code": 5, "message": "it broke"}}, "5: it broke"),
        ({}, "the provider gave no reason"),
    ],
)
def test_a_failure_tells_its_reason_wherever_it_stands(
    fields: dict[str, object], reason: str
) -> None:
    """
    Card, docs, polled and pushed put it in different places.
    """
    assert prediction(status="failed", **fields).reason == reason


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({"message": "NSFW content detected"}, FailureClass.FILTERED),
        ({"message": "blocked by our content policy"}, FailureClass.FILTERED),
        ({"message": "the prompt was moderated"}, FailureClass.FILTERED),
        ({"message": "safety checker said no"}, FailureClass.FILTERED),
        ({"output": {"error_code": "NSFW_CONTENT", "error_message": "no"}}, FailureClass.FILTERED),
        ({"output": {"error_code": "EXECUTION_TIMEOUT"}}, FailureClass.TIMEOUT),
        ({"output": {"error_code": "INVALID_INPUT"}}, FailureClass.INVALID_INPUT),
        (
            {"output": {"error_code": "timeout", "error_message": "safety service"}},
            FailureClass.TIMEOUT,
        ),
        ({"message": "the moderation service timed out"}, FailureClass.TIMEOUT),
        ({"message": "execution timeout"}, FailureClass.TIMEOUT),
        ({"message": "invalid input tensor"}, FailureClass.PROVIDER_ERROR),
        ({"message": "CUDA out of memory"}, FailureClass.PROVIDER_ERROR),
        ({"message": "immoderate load"}, FailureClass.PROVIDER_ERROR),
        ({}, FailureClass.PROVIDER_ERROR),
    ],
)
def test_a_failure_has_the_class_its_code_or_words_say(
    fields: dict[str, object], failure: FailureClass
) -> None:
    """
    The code first, then the documented words, else it is the provider's error.
    """
    assert prediction(status="error", **fields).failure is failure


def test_a_cancelled_prediction_is_of_its_own_class() -> None:
    """
    Whatever words come with it.
    """
    assert prediction(status="cancelled", message="timeout").failure is FailureClass.CANCELLED


@pytest.mark.parametrize(
    "body",
    [
        {"exec_id": "p-1", "status": "succeeded", "output": [A]},
        {"exec_id": "p-1", "flow_id": "f-9", "status": "succeeded", "output": {"url": A}},
    ],
)
def test_a_webhook_tells_what_a_poll_would(body: object) -> None:
    """
    Both dialects.
    """
    told = responses.webhook(json.dumps(body).encode())
    assert (told.prediction_id, told.status, told.urls) == ("p-1", Status.SUCCEEDED, (A,))


def test_a_failed_webhook_tells_why() -> None:
    """
    The card in `error`, the docs in `output[0].error`.
    """
    for body in ({"error": "nsfw"}, {"output": [{"error": "nsfw"}]}):
        told = responses.webhook(json.dumps({"exec_id": "p", "status": "failed", **body}).encode())
        assert (told.reason, told.failure) == ("nsfw", FailureClass.FILTERED)


def test_a_webhook_without_an_id_is_garbled() -> None:
    """
    It could be about anything.
    """
    with pytest.raises(MalformedResponse):
        responses.webhook(b'{"status": "succeeded"}')


@pytest.mark.parametrize("name", ["executions", "data", "items", "results"])
def test_a_page_of_the_history_is_read_under_any_name(name: str) -> None:
    """
    The cost there is the truth about money.
    """
    row = {
        "id": "p-1",
        "model": "flux-depth-dev",
        "status": "success",
        "execution_cost": "0.025",
        "created_at": "2026-08-01T10:00:00.123456789Z",
    }
    page = responses.executions(
        json.dumps({name: [row, {"id": None}, 3], "total_count": 9}).encode()
    )
    assert (page.sent, page.total, len(page.rows)) == (3, 9, 1)
    assert page.rows[0].cost == Micros(25_000)
    assert page.rows[0].created_at == datetime(2026, 8, 1, 10, 0, 0, 123456, tzinfo=UTC)


def test_an_empty_page_may_be_written_as_null_but_not_left_out() -> None:
    """
    An answer without a list proves nothing absent.
    """
    assert responses.executions(b'{"executions": null}').rows == ()
    assert responses.executions(b"[]").rows == ()
    for body in (b"{}", b"null", b'{"executions": 3}', b""):
        with pytest.raises(MalformedResponse):
            responses.executions(body)


@pytest.mark.parametrize(
    "text",
    ["2026-08-01T10:00:00Z", "2026-08-01T12:00:00+02:00", "2026-08-01T10:00:00", 1785578400],
)
def test_moments_come_in_several_spellings(text: object) -> None:
    """
    One moment, in UTC.
    """
    assert moment_of(text) == datetime(2026, 8, 1, 10, tzinfo=UTC)


def test_required_headers_cannot_smuggle_lines() -> None:
    """
    A header with a line break would become two.
    """
    place = {"id": "f", "presigned_url": A, "public_url": B}
    assert responses.presigned(json.dumps(place).encode()).required_headers == {}
    for bad in ({"a": "b\r\nc: d"}, {"a\n": "b"}, {"a": 1}, [1]):
        with pytest.raises(MalformedResponse):
            responses.presigned(json.dumps({**place, "required_headers": bad}).encode())


def test_nothing_secret_is_printed_with_a_value() -> None:
    """
    URLs may carry tokens; a `repr` ends up in logs.
    """
    signed = "https://cdn.example/a?sig=SECRET"
    place = {"id": "f", "presigned_url": signed, "public_url": B, "required_headers": {"a": signed}}
    told = [
        prediction(status="success", output=signed, input={"control_image": signed}),
        responses.presigned(json.dumps(place).encode()),
    ]
    assert "SECRET" not in repr(told)


def test_words_of_others_are_cleaned() -> None:
    """
    No control characters, no URL's query or password, no endless line.
    """
    dirty = "a\x1b[31m\r\nb \ud800 https://u:pw@h.example/p?token=T#f, see http://x/?q"
    assert sanitize(dirty) == "a [31m b https://h.example/p see http://x/"
    assert len(sanitize("x" * 10_000)) == 500


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        ({"amount": 0.025, "currency": "USD", "type": "fixed", "unit": "execution"}, 25_000),
        ({"amount": "0.0125"}, 12_500),
        ({"amount": 0.025, "currency": "EUR"}, None),
        ({"amount": 0.025, "unit": "second"}, None),
        ({"amount": 0.025, "type": "range"}, None),
        ({"amount": 0}, None),
        ({"amount": None}, None),
        (0.025, None),
        (None, None),
    ],
)
def test_a_models_price_is_told_where_it_is_that_of_an_execution(
    cost: object, told: int | None
) -> None:
    """
    A hint for people: anything that is not dollars an execution says nothing.
    """
    body = json.dumps({"slug": "m", "request_schema": {"a": 1}, "cost": cost}).encode()

    assert responses.model(body).told_price == told


DEEP = 5_000
READERS: list[Callable[[bytes], object]] = [
    responses.created,
    responses.prediction,
    responses.webhook,
    responses.executions,
    responses.presigned,
    responses.model,
]
_WORDS = st.sampled_from(
    ["success", "failed", "error", "processing", A, "0.025", "", "\ud800", "2026-01-01", "[1"]
)
_NAME_LIST = (
    "id predictionID exec_id status output logs metrics cost predict_time error error_code "
    "error_message message details url images input data executions total_count limit "
    "created_at execution_cost presigned_url public_url required_headers expires_at "
    "request_schema slug webhook_url status_code"
)
_NAMES = st.sampled_from(_NAME_LIST.split())
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES | st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: str(read.__name__))
@given(body=st.binary() | _JSON.map(lambda value: json.dumps(value).encode("utf-8", "replace")))
@example(body=b'{"status":"failed","error":' + b'{"error":' * 900 + b"1" + b"}" * 901)
@example(body=b'{"status":"failed","details":' + b"[" * 900 + b"]" * 900 + b"}")
@example(body=b'{"status":"success","output":' + b"[" * 900 + b"]" * 900 + b"}")
@example(body=b'{"data":' * 900 + b"[]" + b"}" * 900)
@example(body=b"[" * DEEP)
@example(body=b'{"status":"success","metrics":{"cost":' + b"9" * 5000 + b"}}")
@example(body=b'{"id":' + b"9" * 4000 + b',"created_at":1e999,"status":"x"}')
@example(body=b'[{"id":1,"created_at":1e30,"run_time":1e400}]')
def test_no_body_whatever_breaks_the_reading(read: Callable[[bytes], object], body: bytes) -> None:
    """
    A value or `MalformedResponse`; nothing else leaves, and what leaves can be printed and encoded.
    """
    try:
        value = read(body)
    except MalformedResponse as exc:
        value = exc
    str(value).encode()
    repr(value).encode()


@given(
    status=st.integers(100, 999),
    body=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()),
    retry_after=st.text() | st.floats().map(str),
)
def test_no_error_body_whatever_breaks_the_mapping(
    status: int, body: bytes, retry_after: str
) -> None:
    """
    Every status outside 2xx is an `ApiError` with printable words.
    """
    answer = HttpResponse(status, {"retry-after": retry_after, "date": retry_after}, body)
    now = datetime(2026, 8, 1, tzinfo=UTC)
    for error in (
        status_errors.create_error(answer, "r", model="m", now=now, clean=sanitize),
        status_errors.read_error(answer, "r", now=now, clean=sanitize),
        status_errors.put_error(answer, now=now, clean=sanitize),
    ):
        assert (error is None) == (200 <= status < 300)
        str(error).encode()


@given(_JSON)
def test_urls_are_urls(value: object) -> None:
    """
    Whatever the output's shape: a word that can be asked for or at least kept, with no blank and
    nothing unprintable in it.
    """
    for url in urls_of(value):
        assert url.isprintable()
        assert " " not in url
        assert not url.startswith("//")
