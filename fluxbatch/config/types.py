"""Durations, sizes and amounts as people write them in settings.

Owns their units. Knows no setting's name.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from fluxbatch.domain.money import Micros, as_usd, usd

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """Read `90`, `"90s"`, `"15m"` or `"6h"` as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?\s*", value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write it like 90s, 15m or 6h")
        return float(match[1]) * _UNITS_S[match[2] or "s"]
    return value


def size_bytes(value: object) -> object:
    """Read `1000`, `"500MB"` or `"2GiB"` as bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*", value)
        if match is None:
            raise ValueError(f"{value!r} is not a size; write it like 500MB or 2GiB")
        step = 1024 if match[3] else 1000
        power = " KMGT".index(match[2].upper()) if match[2] else 0
        return int(float(match[1]) * step**power)
    return value


def _as_micros(value: object) -> Micros | None:
    if value is None:
        return None
    if isinstance(value, str | int | float):
        return usd(value)
    raise ValueError(f"{value!r} is not an amount of dollars; write it like 12.50")


Seconds = Annotated[float, BeforeValidator(seconds)]
Bytes = Annotated[int, BeforeValidator(size_bytes)]
Cap = Annotated[
    Micros | None, BeforeValidator(_as_micros), PlainSerializer(lambda m: m and as_usd(m))
]
"""US dollars in the file and the environment, micro-dollars here; None is no cap."""


class Section(BaseModel):
    """Settings that belong together: frozen, and a name nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
