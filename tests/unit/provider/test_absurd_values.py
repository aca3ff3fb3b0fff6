"""The one place where the provider's values become ours: finite, in range, of their type, or not
there. Every field of every answer takes every oddity; `EXAMPLES=3000` tries as many of each."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fluxbatch.domain.money import Micros
from fluxbatch.errors import FluxbatchError
from fluxbatch.infra.redaction import sanitize
from fluxbatch.models.schema_card import SchemaCard
from fluxbatch.provider import responses
from fluxbatch.provider.json_fields import MalformedResponse
from fluxbatch.provider.status_errors import create_error, put_error, read_error
from fluxbatch.provider.transport import HttpResponse
from tests.support.oddities import ODD_TEXTS, ODD_VALUES, as_body, odd_values, places_in, with_value

many = settings(
    max_examples=int(os.environ.get("EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
AT = "2026-11-26T10:00:00Z"
URL = "https://cdn.example/a.webp"
INPUT = {"prompt": "a cat", "seed": 7, "guidance": 10.0, "megapixels": "1"}
SCHEMA = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "description": "words", "maxLength": 100},
        "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
        "guidance": {"type": "number", "minimum": 0, "default": 3.5},
        "size": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "image": {"type": "string", "format": "uri"},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
}
PREDICTION = {
    "id": "p-1",
    "predictionID": "p-1",
    "input": INPUT,
    "status": "success",
    "output": [URL, {"url": URL}],
    "logs": "line",
    "message": "done",
    "details": {"a": 1},
    "error": None,
    "metrics": {"predict_time": 9.5, "cost": 0.025},
    "urls": {"get": URL, "cancel": URL},
}
ROW = {
    "id": "p-1",
    "model": "m",
    "status": "success",
    "execution_cost": 0.025,
    "run_time": 9.5,
    "created_at": AT,
    "started_at": AT,
    "completed_at": 1_790_000_000,
    "output": URL,
}
ANSWERS: Mapping[str, tuple[Callable[[bytes], Any], Any]] = {
    "create": (responses.created, {"status": "success", "message": "ok", "predictionID": "p-1"}),
    "poll": (responses.prediction, PREDICTION),
    "failed poll": (
        responses.prediction,
        PREDICTION
        | {"status": "error", "output": [{"error_code": "x", "error_message": "y"}], "error": "z"},
    ),
    "webhook": (
        responses.webhook,
        {"exec_id": "p-1", "status": "succeeded", "output": URL, "error": "e", "flow_id": "f"},
    ),
    "listing": (
        responses.executions,
        {"executions": [ROW, ROW], "total_count": 2, "total_capped": False, "limit": 20},
    ),
    "presign": (
        responses.presigned,
        {
            "id": "f-1",
            "presigned_url": URL,
            "public_url": URL,
            "expires_at": AT,
            "required_headers": {"Content-Type": "image/png"},
        },
    ),
    "model": (
        responses.model,
        {
            "title": "M",
            "slug": "m",
            "output_type": "image",
            "request_schema": SCHEMA,
            "cost": {"type": "fixed", "unit": "execution", "currency": "USD", "amount": 0.05},
        },
    ),
}


def assert_ours(value: object, depth: int = 0) -> None:
    """Nothing in it can overflow, be no number, or be no date."""
    assert depth < 100
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            if field.name == "run_time_s" and inner is not None:
                assert 0 <= inner <= 30 * 86_400
            if field.name in {"cost", "told_price"} and inner is not None:
                assert 0 <= inner <= 10**12
            assert_ours(inner, depth + 1)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            assert isinstance(name, str)
            assert_ours(inner, depth + 1)
    elif isinstance(value, tuple | list):
        for inner in value:
            assert_ours(inner, depth + 1)
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, int):
        assert abs(value) <= 2**64
    elif isinstance(value, datetime):
        assert datetime(2000, 1, 1, tzinfo=UTC) <= value < datetime(2200, 1, 1, tzinfo=UTC)
    else:
        assert value is None or isinstance(value, str | Enum)


def read(name: str, answer: object) -> Any:
    """What it means to us; None where that is nothing."""
    meaning, _ = ANSWERS[name]
    try:
        return meaning(as_body(answer))
    except (MalformedResponse, ValueError) as exc:
        if isinstance(exc, MalformedResponse) or "integer string" in str(
            exc
        ):  # `json.dumps` itself
            return None
        raise


@pytest.mark.parametrize("name", ANSWERS)
def test_every_oddity_in_every_place(name: str) -> None:
    """
    A table of them all: fields by values.
    """
    _, answer = ANSWERS[name]
    for place in places_in(answer):
        for value in ODD_VALUES:
            assert_ours(read(name, with_value(answer, place, value)))


@pytest.mark.parametrize("name", ANSWERS)
@many
@given(data=st.data())
def test_any_oddities_in_any_places(name: str, data: st.DataObject) -> None:
    """
    Several at once.
    """
    _, answer = ANSWERS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places_in(answer)))
        answer = with_value(answer, place, data.draw(odd_values))
    assert_ours(read(name, answer))


@many
@given(data=st.data())
def test_a_model_described_oddly_is_refused_by_its_name_or_usable(data: st.DataObject) -> None:
    """
    A schema is kept as it is told, and becomes the card that rows are judged by.
    """
    _, answer = ANSWERS["model"]
    places = [place for place in places_in(answer) if place[:1] == ("request_schema",)]
    for _ in range(data.draw(st.integers(1, 2))):
        places = [place for place in places_in(answer) if place[:1] == ("request_schema",)]
        answer = with_value(answer, data.draw(st.sampled_from(places)), data.draw(odd_values))
        if not isinstance(answer["request_schema"], dict):
            break
    told = read("model", answer)
    if told is None:
        return
    with suppress(FluxbatchError):  # by its name, as a config error is
        SchemaCard(told.slug, told.request_schema, price=Micros(1), output_type=told.output_type)


@many
@given(
    st.sampled_from(
        [100, 200, 204, 302, 400, 401, 402, 404, 408, 413, 422, 429, 500, 503, 599, 999]
    ),
    st.dictionaries(
        st.sampled_from(["date", "retry-after", "x-request-id", "content-type", "location"]),
        st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=30), st.floats().map(str)),
    ),
    st.one_of(st.binary(max_size=50), odd_values.map(repr).map(str.encode)),
)
@example(200, {"date": "Mon, 01 Jan 0001 00:00:00 GMT"}, b"")
@example(200, {"date": "Fri, 31 Dec 9999 23:59:59 -2359"}, b"")
@example(429, {"retry-after": "1e308", "date": "Sat, 01 Jan 2199 00:00:00 GMT"}, b"{}")
def test_headers_mean_something_or_nothing(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    """
    A date that is none of our times is no date; a wait is a number of seconds, or there is none.
    """
    answer = HttpResponse(status, headers, body)
    assert_ours(answer.date)
    now = datetime(2026, 11, 26, tzinfo=UTC)
    for error in (
        create_error(answer, "r", model="m", now=now, clean=sanitize),
        read_error(answer, "r", now=now, clean=sanitize),
        put_error(answer, now=now, clean=sanitize),
    ):
        if error is not None:
            assert str(error)
            assert_ours(getattr(error, "retry_after_s", None))
