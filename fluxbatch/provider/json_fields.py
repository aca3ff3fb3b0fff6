"""The tolerant reading of values in JSON from other servers.

Every function answers for any JSON whatever: with a value, with "not there", or with
`MalformedResponse`. Owns which names and shapes are accepted; `responses` knows their meaning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.money import Micros, usd

_MAX_ID_CHARS = 256
_MAX_URL_CHARS = 16_384
_MAX_URLS = 64
_MAX_DEPTH = 8

_ID_NAMES = ("predictionID", "predictionId", "prediction_id", "exec_id", "id")
ROW_NAMES = ("executions", "items", "data", "results", "predictions", "rows")
_URL_NAMES = ("url", "images", "image", "output", "outputs", "urls", "files", "file", "data", "uri")


class MalformedResponse(Exception):
    """A body that cannot be understood; says what is wrong with it, never what it holds."""


def json_or_none(body: bytes) -> object:
    """The JSON of an error body; None where a gateway sent something else."""
    try:
        return json_of(body)
    except MalformedResponse:
        return None


def json_of(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # bad JSON, bad UTF-8, numbers of 5,000 digits, depth
        raise MalformedResponse(
            "the answer is not JSON" if body else "the answer is empty"
        ) from None


def object_of(body: bytes) -> Mapping[str, object]:
    answer = json_of(body)
    if not isinstance(answer, Mapping):
        raise MalformedResponse("the answer is not a JSON object")
    return answer


class JsonRows(NamedTuple):
    """A list and the object it stood in."""

    rows: list[object]
    head: Mapping[str, object]


def rows_of(body: bytes, names: Sequence[str] = ROW_NAMES) -> JsonRows:
    """The list in an answer, bare or under a name; some servers write an empty one as `null`."""
    answer = json_of(body)
    head: Mapping[str, object] = {}
    for _ in range(_MAX_DEPTH):
        if isinstance(answer, list):
            return JsonRows(answer, head)
        if not isinstance(answer, Mapping):
            break
        head = answer
        name = next((name for name in names if name in head), None)
        if name is None:
            break
        answer = head[name] if head[name] is not None else []
    raise MalformedResponse("no list in the answer")


def read_id(value: object) -> PredictionId | None:
    """An id that is safe in a URL's path, by any of its names."""
    if isinstance(value, Mapping):
        for name in _ID_NAMES:
            text = word_of(value.get(name))
            if is_id(text):
                return PredictionId(text)
    return None


def is_id(text: str) -> bool:
    """Whether *text* can name a prediction in a path; `..` could not."""
    return (
        0 < len(text) <= _MAX_ID_CHARS
        and text.isascii()
        and text.isprintable()
        and " " not in text
        and text.strip(".") != ""
    )


def urls_of(output: object) -> tuple[str, ...]:
    """The URLs in an output of any shape, in its order."""
    return tuple(url for _, url in zip(range(_MAX_URLS), _urls(output, 0), strict=False))


def _urls(value: object, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        text = value.strip()
        if is_url(text):
            yield text
        elif text[:1] in ("[", "{"):  # a list of URLs that was made a string on its way
            yield from _urls(_nested_json(text), depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _urls(item, depth + 1)
    elif isinstance(value, Mapping):
        # One name only: an object with `url` and `thumbnail` is one image, not two.
        for name in _URL_NAMES:
            if found := list(_urls(value.get(name), depth + 1)):
                yield from found
                return


def is_url(text: str) -> bool:
    return (
        text[:8].lower().startswith(("https://", "http://"))
        and len(text) <= _MAX_URL_CHARS
        and text.isprintable()
        and " " not in text
    )


def is_header(item: tuple[object, object]) -> bool:
    return all(isinstance(part, str) and part.isascii() and part.isprintable() for part in item)


def moment_of(value: object) -> datetime | None:
    """An RFC 3339 text or Unix seconds as a moment in UTC; None if it is neither."""
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value.strip())
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def word_of(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def micros_of(value: object) -> Micros | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return usd(value)
        except ValueError:
            return None
    return None


def seconds_of(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) and number >= 0 else None
    return None


def count_of(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _nested_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
