"""Values that no field of an answer should have, and answers with one of them in any place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\U000e0041\u2060\u061c\u202e",
    "../../../etc/passwd",
    "1e308",
    "-1",
    "0,025",
    "NaN",
    "9" * 400,
    "x" * 70_000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+23:59",
    "-292277022-01-01T00:00:00Z",
    "2026-11-26T10:00:00",
    "http://[::1",
    "https://\uff11\uff12\uff17.0.0.1/a",
    "data:image/png;base64,????",
    "<script>",
    "%s{0}\\n\r\n",
)
ODD_NUMBERS = (
    0,
    -0.0,
    -1,
    1e308,
    -1e308,
    1.7e15,
    5e-324,
    0.1 + 0.2,
    2**31,
    2**53 + 1,
    2**63,
    2**64 + 1,
    10**30,
    -(10**30),
    10**4299,
    float("inf"),
    float("-inf"),
    float("nan"),
)
_DEEP: Any = []
for _ in range(300):
    _DEEP = [_DEEP]
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [None],
    {"": None},
    _DEEP,
    [[]] * 1_000,
    *ODD_TEXTS,
    *ODD_NUMBERS,
)

odd_values = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.floats(),
    st.integers(),
    st.text(max_size=30),
    st.lists(st.sampled_from(ODD_VALUES), max_size=3),
    st.dictionaries(st.text(max_size=10), st.sampled_from(ODD_VALUES), max_size=3),
)


def as_body(answer: object) -> bytes:
    """As JSON in Python's wide sense: NaN, and halves of pairs."""
    return json.dumps(answer).encode()


def places_in(answer: object) -> list[tuple[Any, ...]]:
    """Every place of *answer*, by the names and numbers that lead there."""

    def walk(value: object, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield path
        if isinstance(value, dict):
            for name, item in value.items():
                yield from walk(item, (*path, name))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                yield from walk(item, (*path, number))

    return list(walk(answer, ()))


def with_value(answer: Any, place: tuple[Any, ...], value: object) -> Any:
    """*answer* with *value* in one *place*."""
    if not place:
        return value
    copy = answer.copy()
    copy[place[0]] = with_value(answer[place[0]], place[1:], value)
    return copy


def disturbed(answer: Any, random: Random) -> Any:
    """*answer* with an odd value in one of its places, though not in all of it."""
    places = places_in(answer)[1:]
    if not places:
        return answer
    return with_value(answer, random.choice(places), random.choice(ODD_VALUES))
