"""Durations, sizes and amounts as people write them in settings.

Owns their units. Knows no setting's name.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from fluxbatch.domain.money import Micros, as_usd, usd

MOST_SECONDS = 1e9
"""Some thirty years: what is longer is a slip, and no clock or date takes it."""
MOST_COUNT = 10**15
"""More than anything here can be counted or weighed in bytes."""
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """Read `90`, `"90s"`, `"15m"` or `"6h"` as seconds; raise `ValueError` beyond 30 years."""
    value = _seconds(value)
    if isinstance(value, bool):
        raise ValueError("true and false are no durations; write one like 90s, 15m or 6h")
    if isinstance(value, int | float) and not abs(value) <= MOST_SECONDS:
        raise ValueError(f"is no duration of at most {MOST_SECONDS:.0f} s")
    return value


def _seconds(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?\s*", value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write it like 90s, 15m or 6h")
        return float(match[1]) * _UNITS_S[match[2] or "s"]
    return value


def size_bytes(value: object) -> object:
    """Read `1000`, `"500MB"` or `"2GiB"` as bytes; raise `ValueError` beyond a petabyte.

    Not pydantic's `ByteSize`: it reads only a text's beginning ("1,000,000" as 1), knows bits and
    no "2Gi".
    """
    return whole_number(_size_bytes(value))


def _size_bytes(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*", value)
        if match is None:
            raise ValueError(f"{value!r} is not a size; write it like 500MB or 2GiB")
        step = 1024 if match[3] else 1000
        power = " KMGT".index(match[2].upper()) if match[2] else 0
        return int(min(float(match[1]) * step**power, 2.0 * MOST_COUNT))
    return value


def no_truth(value: object) -> object:
    """*value* unless it is true or false, which are no 1 and no 0."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")
    return value


def whole_number(value: object) -> object:
    """*value* where it may be a count: what nobody can count is refused."""
    value = no_truth(value)
    try:
        is_too_large = isinstance(value, int | float | str) and abs(float(value)) > MOST_COUNT
    except ValueError:
        return value
    except OverflowError:
        is_too_large = True
    if is_too_large or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"must be a whole number of at most {MOST_COUNT:,}")
    return value


def not_empty(value: object) -> object:
    """*value* unless it is no text at all: an unset shell variable never means "none"."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; write a value, or leave it out")
    return value


def _as_micros(value: object) -> Micros | None:
    if value is None:
        return None
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        return usd(value)
    raise ValueError(f"a {type(value).__name__} is not an amount of dollars; write it like 12.50")


Seconds = Annotated[float, BeforeValidator(seconds)]
Bytes = Annotated[int, BeforeValidator(size_bytes)]
WholeNumber = Annotated[int, BeforeValidator(whole_number)]
Seed = Annotated[int, BeforeValidator(no_truth)]
FilledText = Annotated[str, BeforeValidator(not_empty)]
Cap = Annotated[
    Micros | None, BeforeValidator(_as_micros), PlainSerializer(lambda m: m and as_usd(m))
]
"""US dollars in the file and the environment, micro-dollars here; None is no cap."""


class Section(BaseModel):
    """Settings that belong together: frozen, and a name nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
