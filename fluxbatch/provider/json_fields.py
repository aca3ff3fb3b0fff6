"""Values in a stranger's JSON, read with tolerance: the one place where they become ours.

Every function answers for any JSON whatever: with a value, with "not there", or with
`MalformedResponse`. A value that leaves here is finite, in the range its name allows and of its
type, so that nothing after it can trip over one; any other is not there. Owns which names and
shapes are accepted; where an output's URLs stand in it is `output_urls`', what the values mean
together is `responses`'.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.money import Micros, usd

_MAX_ID_CHARS = 256
_MAX_URL_CHARS = 16_384
_MAX_DEPTH = 8
_MAX_NESTING = 64
_MAX_INTEGER = 2**64
_MAX_COUNT = 2**31
_MAX_SECONDS = 30 * 86_400.0
_MAX_COST = Micros(10**12)
"""A million dollars: sums of millions of such still fit into the ledger."""
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_AMOUNT = re.compile(r"\s*\$?[0-9]{1,20}(\.[0-9]{1,40})?\s*", re.ASCII)

_ID_NAMES = ("predictionID", "predictionId", "prediction_id", "exec_id", "id")
ROW_NAMES = ("executions", "items", "data", "results", "predictions", "rows")


class MalformedResponse(Exception):
    """A body that cannot be understood; says what is wrong with it, never what it holds."""


def _nothing(_: str) -> None:
    """For `NaN` and `Infinity`, which are no JSON."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _integer(digits: str) -> int | None:
    if len(digits) > 21:  # Python refuses to read more than 4,300 of them
        return None
    number = int(digits)
    return number if abs(number) <= _MAX_INTEGER else None


# One for all: `json.loads` makes a new one for every call that names a parse function.
_DECODER = json.JSONDecoder(parse_constant=_nothing, parse_float=_finite, parse_int=_integer)


def json_or_none(body: bytes) -> object:
    """The JSON of an error body; None where a gateway sent something else."""
    try:
        return json_of(body)
    except MalformedResponse:
        return None


def json_of(body: bytes) -> object:
    """Its numbers are finite, and integers of 64 bits; what is neither is null."""
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        answer: object = _DECODER.decode(text)
    except (ValueError, RecursionError):  # bad JSON, bad UTF-8, depth
        raise MalformedResponse(
            "the answer is not JSON" if body else "the answer is empty"
        ) from None
    if body.count(b"{") + body.count(b"[") >= _MAX_NESTING and _is_deep(answer):
        raise MalformedResponse("the answer is nested too deep")
    return answer


def _is_deep(answer: object) -> bool:
    level = [answer]
    for _ in range(_MAX_NESTING):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return False
        level = inner
    return True


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
            return plausible(datetime.fromisoformat(value.strip()))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return plausible(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return None


def plausible(moment: datetime) -> datetime | None:
    """*moment* in UTC; None where it is none of our times, as zeros and "never" are written.

    With what is left any sum and any time zone is a date.
    """
    try:
        utc = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return utc if _EARLIEST <= utc < _LATEST else None


def word_of(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def micros_of(value: object) -> Micros | None:
    """Dollars as micro-dollars; None for what is no amount of at most a million."""
    is_amount = _AMOUNT.fullmatch(value) if isinstance(value, str) else not isinstance(value, bool)
    if isinstance(value, str | int | float) and is_amount:
        try:
            amount = usd(value)
        except (ValueError, ArithmeticError):
            return None
        return amount if amount <= _MAX_COST else None
    return None


def seconds_of(value: object) -> float | None:
    """A duration of at most thirty days."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value <= _MAX_SECONDS else None
    return None


def count_of(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return value
    return None
