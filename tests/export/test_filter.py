"""The filter of `--where`: what it lets through, and the report of a mistake."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS, ExportRecord
from fluxbatch.export.filter import parse_filter

RECORD: ExportRecord = {
    **dict.fromkeys(COLUMNS),
    "row": 12,
    "id": "Lamp 3",
    "status": "done",
    "prompt": "a Cat named 'Tom' & \"Jo\"",
    "model": "flux-depth-dev",
    "width": 768,
    "cost_usd": "0.025",
    "cost_is_estimated": False,
    "seed": 0,
    "input": {"guidance": 10, "prompt": "a Cat", "disable_safety_checker": True},
    "meta": {"shop": {"city": "Århus"}, "a.b": "dotted", "zip": "0100", "empty": ""},
    "axes": {"guidance": 7.5},
    "quality": {},
}


@pytest.mark.parametrize(
    "text",
    [
        "status=done",
        "state=done and model=flux-depth-dev",
        "state = done AND width >= 768",
        "width>767.5 and width<7.69e2",
        "prompt~cat",
        "prompt~'named ''Tom'''",
        'prompt~"""Jo"""',
        "prompt!~dog",
        "id='Lamp 3'",
        "id!='lamp 3'",
        "cost=0.0250 and cost<=.025",
        "not failure and not prediction",
        "failure!=filtered",
        "seed and seed=0",
        "cost_is_estimated=false",
        "state=failed or state=done and row=12",
        "not (state=failed or row>12)",
        "not not state=done",
        "input.guidance=10.0 and axes.guidance<8",
        "input.disable_safety_checker=true",
        "meta.shop.city~år and meta.a.b=dotted",
        "meta.zip=0100",
        "meta.zip!=100",
        "not meta.nothing and meta.empty=''",
        "meta.shop~århus",
        "status>=done and status<e",
    ],
)
def test_these_let_the_row_through(text: str) -> None:
    """
    And their contrary does not.
    """
    assert parse_filter(text).matches(RECORD)
    assert not parse_filter(f"not ({text})").matches(RECORD)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", 1, "is empty"),
        ("statu=done", 1, "did you mean 'status'"),
        ("status=done und row=1", 13, "expected 'and', 'or' or the end"),
        ("status=", 8, "expected a value after '='"),
        ("status==done", 8, "expected a value after '='"),
        ("status=done and", 16, "expected a field"),
        ("(status=done", 13, "expected ')'"),
        ("status=done)", 12, "expected 'and'"),
        ("prompt='open", 8, "never closed"),
        ("width>=wide", 8, "'wide' is no number"),
        ("cost=$1", 6, "'$1' is no number"),
        ("cost_is_estimated>true", 19, "=true"),
        ("meta=1", 1, "'meta.NAME'"),
        ("prompt.x=1", 1, "no such field 'prompt.x'"),
        ("key=a_0", 1, "no such field 'key'"),
        ("= 1", 1, "expected a field"),
        ("row=1; DROP TABLE rows", 5, "is no number"),
        ("(" * 60 + "row=1" + ")" * 60, 51, "more than 50"),
        ("not " * 60 + "row=1", 201, "more than 50"),
    ],
)
def test_a_mistake_is_shown_at_its_place(text: str, place: int, reason: str) -> None:
    """
    Exit 2, the character counted from 1, and a mark below it.
    """
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    head, line, mark = str(caught.value).split("\n")

    assert head.startswith(f"--where, at character {place}: ")
    assert reason in head
    assert line[mark.index("^") :][:1] == text[place - 1 : place]


@given(st.text(alphabet="abcdeow=<>!~()'\" .andornt1", max_size=60))
def test_nothing_but_a_filter_or_its_error_comes_of_a_text(text: str) -> None:
    """
    No other exception, however odd the text is.
    """
    try:
        found = parse_filter(text)
    except ConfigError:
        return
    assert found.matches(RECORD) in (True, False)


@given(st.text(), st.sampled_from(["prompt", "meta.shop.city", "id"]))
def test_a_quoted_value_is_exactly_that_value(value: str, name: str) -> None:
    """
    Quotes doubled, any text can be asked for.
    """
    record: dict[str, Any] = {**RECORD, "prompt": value, "id": value}
    record["meta"] = {"shop": {"city": value}}
    quoted = value.replace("'", "''")

    assert parse_filter(f"{name}='{quoted}'").matches(record)
    assert not parse_filter(f"{name}='{quoted}x'").matches(record)
