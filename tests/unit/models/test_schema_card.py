"""Models by their schema: what rows become, how they are refused, and that no schema harms."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.domain.job import Json, job_id
from fluxbatch.domain.money import Micros
from fluxbatch.emulator.models import MODELS
from fluxbatch.errors import ConfigError
from fluxbatch.models import BadInput
from fluxbatch.models.schema_card import SchemaCard

T2I = SchemaCard("flux-dev-t2i", MODELS["flux-dev-t2i"].request_schema)
MOSAIC = SchemaCard("flux-mosaic", MODELS["flux-mosaic"].request_schema, price=Micros(12_500))


def card(properties: dict[str, Any], **more: Any) -> SchemaCard:
    return SchemaCard("m", {"type": "object", "properties": properties, **more})


def typed(rule: dict[str, Any], value: object, **more: Any) -> Json:
    return card({"x": rule}, **more).check({"x": value})["x"]


def reason(rule: dict[str, Any], value: object, **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        card({"x": rule}, **more).check({"x": value})
    (problem,) = caught.value.problems
    assert problem.field == "x"
    return problem.reason


_SIZED = {"prompt": "a cat", "image_size": {"width": 64.0, "height": 128}, "num_images": "2"}
_SAME_SIZED = {**_SIZED, "image_size": '{"height": 128, "width": 64}', "num_images": 2}


@pytest.mark.parametrize(
    ("model", "row", "golden"),
    [
        (T2I, {"prompt": "a cat"}, "0f81b71d8fba801bd53f3e308076db42"),
        (T2I, {"prompt": "a cat", "guidance": "10.0", "seed": "7"},
         "76ecc79561eeddc9a93e11a8424b33ac"),
        (T2I, {"prompt": "a cat", "guidance": 10, "seed": 7.0},
         "76ecc79561eeddc9a93e11a8424b33ac"),
        (MOSAIC, {"prompt": "a cat", "strength": 0.5, "palette": ["red", "gold"]},
         "c7322cf40e1e33c18014f4bec8e5d84c"),
        (MOSAIC, _SIZED, "d64cb0b1067f5bc85f00e0b37e9dd73c"),
        (MOSAIC, _SAME_SIZED, "d64cb0b1067f5bc85f00e0b37e9dd73c"),
    ],
)  # fmt: skip
def test_job_ids_are_what_they_always_were(
    model: SchemaCard, row: dict[str, object], golden: str
) -> None:
    """Golden values. If this fails, the code is wrong, never the test."""
    assert job_id(model.slug, model.check(row)).hex() == golden


@pytest.mark.parametrize(
    ("rule", "value", "became"),
    [
        ({"type": "integer"}, "7", 7),
        ({"type": "integer"}, " 7 ", 7),
        ({"type": "integer"}, "2.0", 2),
        ({"type": "integer"}, 2.0, 2),
        ({"type": "number"}, "10.0", 10),
        ({"type": "number"}, 10.0, 10),
        ({"type": "number"}, "1e-3", 0.001),
        ({"type": "number"}, ".5", 0.5),
        ({"type": "boolean"}, "TRUE", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "string"}, "007", "007"),
        ({"type": "string"}, 7, "7"),
        ({"type": "string"}, 7.5, "7.5"),
        ({"type": "string"}, 7.0, "7"),
        ({"type": "string", "enum": ["1", "0.25"]}, 0.25, "0.25"),
        ({"type": "string", "enum": ["1", "0.25"]}, "1.0", "1"),
        ({"enum": [1, 2, 4]}, "2", 2),
        ({"enum": ["a", 2]}, "a", "a"),
        ({"type": ["integer", "null"]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "7", "7"),
        ({"allOf": [{"type": "integer"}], "maximum": 9}, "7", 7),
        ({"type": "array", "items": {"type": "number"}}, "[1, 2.0]", [1, 2]),
        ({"type": "object"}, '{"b": 1.0, "a": [1.5, null]}', {"b": 1, "a": [1.5, None]}),
        ({"oneOf": [{"enum": ["auto"]}, {"type": "array"}]}, "[1]", [1]),
        ({"oneOf": [{"enum": ["auto"]}, {"type": "array"}]}, "auto", "auto"),
        ({}, "7", "7"),
        ({}, 7.0, 7),
    ],
)
def test_text_becomes_what_the_schema_has(
    rule: dict[str, Any], value: object, became: object
) -> None:
    """As the fields' tools write it, and never lossy."""
    found = typed(rule, value)

    assert found == became
    assert type(found) is type(became)
    assert card({"x": rule}).check_value("x", value) == became


def test_references_are_followed() -> None:
    """To `$defs`, `definitions` and wherever else a document keeps its types."""
    here = {"components": {"schemas": {"steps": {"type": "integer", "maximum": 50}}}}
    rule = {"allOf": [{"$ref": "#/components/schemas/steps"}], "default": 28}

    assert typed(rule, "7", **here) == 7
    assert reason(rule, 51, **here) == "51 is not an integer of at most 50"
    assert card({"x": rule}, **here).inputs["x"].default == 28


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 4}, 9, "9 is not an integer from 1 to 4"),
        ({"type": "integer"}, "7.5", "7.5 is not an integer"),
        ({"type": "integer"}, "seven", "'seven' is not an integer"),
        ({"type": "integer"}, "1_0", "'1_0' is not an integer"),
        ({"type": "integer"}, True, "True is not an integer"),
        ({"type": "number", "exclusiveMinimum": 0}, 0, "0 is not a number above 0"),
        ({"type": "number"}, "nan", "'nan' is not a number"),
        ({"type": "number"}, math.inf, "inf is no finite number"),
        ({"type": "boolean"}, "yes", "'yes' is not true or false"),
        ({"enum": ["a", "b"]}, "c", "'c' is not one of 'a', 'b'"),
        ({"type": "string", "maxLength": 2}, "abc",
         "'abc' is longer than 2 characters; it must be text of at most 2 characters"),
        ({"type": "string", "pattern": "^#[0-9a-f]{6}$"}, "red",
         "'red' does not match the pattern '^#[0-9a-f]{6}$'; it must be text"),
        ({"type": "array", "items": {"type": "integer"}}, ["a"],
         "at [0]: 'a' is not 'integer'"),
        ({"type": "array"}, "[1, 2", "'[1, 2' is not a list"),
        ({"type": "object", "properties": {"w": {"type": "integer"}}, "required": ["w"]}, {},
         "{} lacks ['w']; it must be an object with w"),
        ({"type": "integer"}, 2**53,
         f"{2**53} is beyond {2**53 - 1}, the largest integer that JSON keeps exactly"),
        ({"type": "string"}, "\ud800", "'\\ud800' cannot be written as JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_is_right(
    rule: dict[str, Any], value: object, words: str
) -> None:
    """The value quoted, and what it may be."""
    assert reason(rule, value) == words


def test_absent_stays_absent_and_every_fault_is_named() -> None:
    """Defaults are shown and never filled in; all that is wrong comes in one pass."""
    assert T2I.check({"prompt": "x", "seed": None, "guidance": ""}) == {"prompt": "x"}
    with pytest.raises(BadInput) as caught:
        T2I.check({"promt": "x", "guidance": 101, "num_outputs": 9})
    assert {problem.field for problem in caught.value.problems} == {
        "promt", "prompt", "guidance", "num_outputs",
    }  # fmt: skip


def test_inputs_that_exclude_each_other_are_refused_as_a_row() -> None:
    """What belongs to no single field has no field."""
    either = card({"a": {}, "b": {}}, oneOf=[{"required": ["a"]}, {"required": ["b"]}])
    assert either.check({"a": 1}) == {"a": 1}
    with pytest.raises(BadInput, match=r"do not go together.*'oneOf'.*fluxbatch models m"):
        either.check({"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("name", "rule", "is_file"),
    [
        ("anything", {"type": "string", "format": "uri"}, True),
        ("anything", {"type": "string", "contentMediaType": "image/png"}, True),
        ("anything", {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}, True),
        ("control_image", {"type": "string"}, True),
        ("mask", {"type": "string"}, True),
        ("image_url", {"type": "string"}, True),
        ("start_image_url", {"type": "string"}, True),
        ("image_size", {"type": "string"}, False),
        ("image_prompt", {"type": "string"}, False),
        ("image", {"type": "string", "enum": ["on", "off"]}, False),
        ("image", {"type": "boolean"}, False),
        ("image", {"type": "string", "format": "date"}, False),
        ("prompt", {"type": "string"}, False),
    ],
)
def test_file_inputs_are_found_by_format_and_by_name(
    name: str, rule: dict[str, Any], is_file: bool
) -> None:
    """A local path given for one of these is uploaded."""
    assert card({name: rule}).file_inputs == ({name} if is_file else frozenset())


def test_a_list_of_files_takes_urls_alone() -> None:
    """A local path in it would be sent as it is, and nobody could fetch it."""
    rule = {"type": "array", "items": {"type": "string"}}
    url = "https://photos.invalid/1.png"
    for name in ("image_urls", "images", "input_images"):
        assert card({name: rule}).check({name: [url]}) == {name: [url]}
        with pytest.raises(BadInput, match=r"at \[1\]: 'a.png' is no https URL"):
            card({name: rule}).check({name: [url, "a.png"]})
    assert card({"tags": rule}).check({"tags": ["a.png"]}) == {"tags": ["a.png"]}


@pytest.mark.parametrize(
    ("rule", "takes"),
    [
        ({"type": "integer"}, True),
        ({"type": ["integer", "null"], "minimum": 0, "maximum": 2**32}, True),
        ({"type": "integer", "maximum": 65_535}, False),
        ({"type": "string"}, False),
        ({"enum": [1, 2]}, False),
    ],
)
def test_a_seed_is_derived_where_any_seed_is_taken(rule: dict[str, Any], takes: bool) -> None:
    """One that the provider would refuse is left to the provider."""
    assert card({"seed": rule}).takes_derived_seed is takes


@pytest.mark.parametrize(
    ("output_type", "makes"),
    [("array", None), ("image", None), ("", None), ("video", "video"), ("text/plain", "text"),
     ("array[audio]", "audio"), ("Image", None)],
)  # fmt: skip
def test_what_is_certainly_no_image_is_known_before(output_type: str, makes: str | None) -> None:
    """A type that says nothing is given the chance."""
    assert SchemaCard("m", {"properties": {"x": {}}}, output_type=output_type).makes == makes


def test_the_number_of_images_is_what_the_row_asks_for() -> None:
    """By the names such inputs have; what nobody asked for is not missed."""
    assert T2I.outputs_wanted({"num_outputs": 3}) == 3
    assert MOSAIC.outputs_wanted({"num_images": 2}) == 2
    assert MOSAIC.outputs_wanted({}) == 1


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "names no inputs"),
        ({"properties": []}, "not valid"),
        ({"properties": {"x": {"type": "nonsense"}}}, "'properties/x/type' is not valid"),
        ({"properties": {"x": {"type": 5}}}, "not valid"),
        ({"properties": {f"x{n}": {} for n in range(501)}}, "names 501 inputs"),
        ({"properties": {"x": {"description": "y" * 130_000}}}, "bytes, more than"),
        ({"properties": {"x": {"multipleOf": 0}}}, "not valid"),
    ],
)
def test_a_schema_that_rows_cannot_be_checked_against_is_refused(
    schema: dict[str, Any], words: str
) -> None:
    """By the model's name, and nothing was spent."""
    with pytest.raises(ConfigError, match=words) as caught:
        SchemaCard("odd-model", schema)
    assert "'odd-model'" in str(caught.value)


def test_a_schema_as_older_drafts_write_it_is_taken() -> None:
    """Draft 4's boolean bounds, and whatever draft a schema names."""
    assert "above 0" not in reason({"type": "number", "minimum": 0, "exclusiveMinimum": True}, 0)
    for draft in (
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
    ):
        assert typed({"type": "integer"}, "7", **{"$schema": draft}) == 7


def _bomb() -> dict[str, Any]:
    """Each definition holds the one before twice: 2^40 checks."""
    names: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}, {"$ref": f"#/$defs/d{n - 1}"}]}
        for n in range(1, 41)
    }
    return {
        "properties": {"x": {"$ref": "#/$defs/d40"}},
        "$defs": {"d0": {"type": "integer"}, **names},
    }


def _deep(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    for _ in range(levels):
        rule = {"not": rule}
    return {"properties": {"x": rule}}


@pytest.mark.parametrize(
    "schema",
    [
        _bomb(),
        _deep(40),
        _deep(5_000),
        {"properties": {"x": {"$ref": "#/properties/x"}}},
        {"$ref": "#", "properties": {"x": {}}},
        {"properties": {"x": {"anyOf": [{"$ref": "#/properties/x"}] * 40}}},
        {"properties": {"x": {"items": {"$ref": "#/properties/x"}, "type": "array"}}},
        {"properties": {"x": {"unevaluatedProperties": False, "allOf": [{"$ref": "#"}] * 30}}},
        {"properties": {"x": {"pattern": "^(a+)+$"}}},
        {"properties": {"x": {"pattern": "(a{1000}){1000}"}}},
        {"properties": {"x": {"pattern": "(?<=a)b\\1"}}},
        {"properties": {"x": {"patternProperties": {"^(x+)+$": {}}, "type": "object"}}},
        {"properties": {"x": {"$ref": 5}}},
        {"properties": {"x": {"$dynamicRef": "#nowhere"}}},
        {"$id": "http://[", "properties": {"x": {"$ref": "y"}}},
        {"$schema": "http://192.0.2.1/none", "properties": {"x": {}}},
    ],
)  # fmt: skip
def test_a_hostile_schema_neither_hangs_nor_breaks(schema: dict[str, Any]) -> None:
    """It is refused by name, refuses the row, or is left to the provider; at once in each case."""
    began, said = time.process_time(), list[str]()
    values: tuple[object, ...] = ("a" * 10_000 + "!", [[[[[[[[[[]]]]]]]]]], {"x": {"x": 1}})
    for value in values:
        try:
            SchemaCard("odd-model", schema).check({"x": value})
        except ConfigError as exc:
            said.append(str(exc))
    assert all(len(words) < 2_000 for words in said)
    assert time.process_time() - began < 5


def test_nothing_is_fetched_for_a_schema() -> None:
    """A fresh process with every socket cut: references elsewhere are no rules, and say nothing."""
    schema = {
        "$id": "https://evil.invalid/schema",
        "properties": {
            "x": {"$ref": "https://evil.invalid/x.json"},
            "y": {"$ref": "file:///etc/passwd"},
            "z": {"$ref": "#/nowhere"},
            "n": {"type": "integer"},
        },
    }
    program = f"""
import socket
def cut(*words, **more):
    raise SystemExit("it opened a socket")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = cut
from fluxbatch.models.schema_card import SchemaCard
card = SchemaCard("m", {schema!r})
print(card.check({{"x": "1", "y": "2", "z": "3", "n": "4"}}))
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.stdout.strip() == "{'x': '1', 'y': '2', 'z': '3', 'n': 4}", ended.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_KEYWORDS = [
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "multipleOf", "pattern",
    "minLength", "maxItems", "items", "properties", "required", "additionalProperties", "anyOf",
    "oneOf", "allOf", "not", "if", "then", "$ref", "$dynamicRef", "format", "default",
    "description", "patternProperties", "propertyNames", "contains", "uniqueItems", "$id",
    "$anchor", "dependentSchemas", "unevaluatedProperties", "prefixItems", "contentMediaType",
]  # fmt: skip
_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
RULES = st.recursive(
    st.builds(lambda kind: {"type": kind}, _TYPES) | st.just({"$ref": "#"}),
    lambda inner: st.dictionaries(
        st.sampled_from(_KEYWORDS), JSON | inner | st.lists(inner, max_size=2), max_size=4
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=6), RULES, min_size=1, max_size=3), st.data())
def test_any_schema_and_any_row_end_in_an_input_or_in_a_refusal(
    properties: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever the provider publishes; and what is accepted is accepted again, unchanged."""
    row = data.draw(st.dictionaries(st.sampled_from(sorted(properties)), JSON, max_size=3))
    try:
        odd = SchemaCard("odd-model", {"properties": properties})
        checked = odd.check(row)
    except ConfigError:
        return
    assert odd.check(checked) == checked
    assert len(job_id("odd-model", checked)) == 16
    json.dumps(checked, allow_nan=False)
    for field in odd.inputs.values():
        assert field.allowed
