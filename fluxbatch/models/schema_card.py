"""The card of any model, made from the request schema its provider publishes, without code.

Owns how a row's values become the schema's types and by which messages they are refused. Jobs are
named by the outcome, so it has one form: text where the schema takes text, else the number,
boolean, list or object the text stands for; 10.0 is 10 wherever it stands; absent stays absent.
Source: docs/design/provider-api.md "GET /model".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from jsonschema.exceptions import ValidationError

from fluxbatch.domain.job import Input, Json
from fluxbatch.domain.money import Micros
from fluxbatch.errors import ConfigError
from fluxbatch.models.card import (
    BadInput,
    InputField,
    InputType,
    Problem,
    quoted,
    unknown_input,
)
from fluxbatch.models.json_schema import Schema, SchemaRules, UnusableSchema
from fluxbatch.models.schema_coercion import NoJson, as_text, canonical, is_number, of_text
from fluxbatch.models.schema_messages import alternatives, choices_of, types_of, words_of

_KINDS: tuple[InputType, ...] = ("string", "integer", "number", "boolean", "array", "object")
_MOST_INPUTS = 500
_MOST_SEED = 2**31 - 1
_COUNTS = ("num_outputs", "num_images", "number_of_images")
"""Inputs that say how many images one execution makes; any other model is asked for one."""
_FILE_FORMATS = ("uri", "url", "uri-reference", "binary", "file", "data-url", "path")
_FILE_NAME = re.compile(
    r"(?:.*_)?(?:image|mask|photo|picture|video|audio|file)(?:_(?:url|uri|path|file|image))?"
    r"|.*_ur[il]"
)
_NOT_IMAGES = {
    "video": "video", "audio": "audio", "music": "audio", "speech": "audio", "text": "text",
    "string": "text", "json": "text", "3d": "3D models", "model": "3D models", "mesh": "3D models",
}  # fmt: skip
"""What a model's `output_type` may say that is certainly no image; `array` says nothing."""


class SchemaCard:
    """One model as its schema describes it."""

    def __init__(
        self,
        slug: str,
        schema: Mapping[str, Any],
        *,
        price: Micros | None = None,
        output_type: str = "",
    ) -> None:
        """Raise `ConfigError` for a schema that rows cannot be checked against."""
        self.slug = slug
        self.price = price
        self.output_type = output_type
        self._schema = schema
        try:
            self._rules = SchemaRules(schema)
        except UnusableSchema as exc:
            raise self._unusable(exc) from None
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            raise self._unusable("it names no inputs")
        if len(properties) > _MOST_INPUTS:
            raise self._unusable(f"it names {len(properties):,} inputs")
        self._required = frozenset(_texts(schema.get("required")))
        self._shapes = {str(name): alternatives(rule, schema) for name, rule in properties.items()}
        self._kinds = {name: _kinds_of(shapes) for name, shapes in self._shapes.items()}
        self._choices = {
            name: [choice for shape in shapes for choice in choices_of(shape)]
            for name, shapes in self._shapes.items()
        }
        self.inputs: Mapping[str, InputField] = {
            name: self._field(name, properties[name]) for name in self._shapes
        }
        self.file_inputs = frozenset(name for name in self._shapes if self._is_file(name))
        self._file_lists = frozenset(name for name in self._shapes if self._is_file_list(name))

    @cached_property
    def schema_sha256(self) -> str:
        """Another schema may read the same rows as other jobs, so it is another manifest."""
        return hashlib.sha256(json.dumps(self._schema, sort_keys=True).encode()).hexdigest()

    @property
    def execution_s(self) -> None:
        """A schema tells no times."""
        return None

    @property
    def takes_derived_seed(self) -> bool:
        shapes = self._shapes.get("seed", [])
        return any(
            {"integer", "number"} & set(types_of(shape))
            and not choices_of(shape)
            and _is_within(shape, 0, _MOST_SEED)
            for shape in shapes
        )

    @property
    def makes(self) -> str | None:
        """What it makes where that is certainly no image; None where it may be one."""
        words = re.split(r"[^a-z0-9]+", self.output_type.lower())
        return next((_NOT_IMAGES[word] for word in words if word in _NOT_IMAGES), None)

    def check(self, given: Mapping[str, object]) -> Input:
        checked: Input = {}
        problems: list[Problem] = []
        for name, value in given.items():
            if value is None or value == "":
                continue
            if name not in self.inputs:
                problems.append(unknown_input(name, self.inputs))
                continue
            try:
                checked[name] = self._typed(name, value)
            except NoJson as exc:
                problems.append(Problem(name, f"{quoted(value)} {exc}"))
        problems += self._not_urls(checked)
        try:
            if not problems and self._rules.are_known_right(checked):
                return checked
            errors = self._rules.errors(checked)
        except UnusableSchema as exc:
            raise self._unusable(exc) from None
        refused = {problem.field for problem in problems}
        problems += self._problems(errors, checked, refused)
        if problems:
            raise BadInput(problems)
        return checked

    def check_value(self, name: str, value: object) -> Json:
        if name not in self.inputs:
            raise BadInput([unknown_input(name, self.inputs)])
        if value is None or value == "":
            raise BadInput([Problem(name, "is empty; leave it out instead")])
        try:
            typed = self._typed(name, value)
            errors = self._rules.errors_of(name, typed)
        except NoJson as exc:
            raise BadInput([Problem(name, f"{quoted(value)} {exc}")]) from None
        except UnusableSchema as exc:
            raise self._unusable(exc) from None
        if errors:
            error = errors[0]
            raise BadInput(
                [Problem(name, self._reason(name, list(error.absolute_path), error, typed))]
            )
        return typed

    def outputs_wanted(self, given: Input) -> int:
        for name in _COUNTS:
            if type(count := given.get(name)) is int and count > 0:
                return count
        return 1

    def _unusable(self, why: object) -> ConfigError:
        return ConfigError(
            f"the provider's schema of model {self.slug!r} cannot be used: {why}; nothing was spent"
        )

    def _field(self, name: str, rule: object) -> InputField:
        shapes = self._shapes[name]
        kinds = list(dict.fromkeys(kind for shape in shapes for kind in types_of(shape)))
        known = [kind for kind in _KINDS if kind in kinds]
        values = [value for shape in shapes for value in choices_of(shape)]
        default = rule.get("default") if isinstance(rule, Mapping) else None
        if default is None:
            default = next((s["default"] for s in shapes if s.get("default") is not None), None)
        note = rule.get("description") if isinstance(rule, Mapping) else None
        note = note or next((s["description"] for s in shapes if "description" in s), "")
        only = shapes[0] if len(shapes) == 1 else {}
        return InputField(
            name=name,
            kind=known[0] if len(known) == 1 else "any",
            required=name in self._required,
            default=default,
            choices=tuple(value for value in values if isinstance(value, str)),
            least=_bound(only, "minimum"),
            most=_bound(only, "maximum"),
            note=" ".join(str(note).split()),
            shape=words_of(shapes, self._schema),
        )

    def _is_file_list(self, name: str) -> bool:
        return any(
            "array" in types_of(shape)
            and _names_files(name.removesuffix("s"), alternatives(shape.get("items"), self._schema))
            for shape in self._shapes[name]
        )

    def _not_urls(self, checked: Input) -> Iterator[Problem]:
        """What the provider would be sent and could not fetch."""
        for name in self._file_lists & checked.keys():
            values = checked[name]
            for place, value in enumerate(values if isinstance(values, list) else ()):
                if isinstance(value, str) and not value.startswith(("https://", "http://")):
                    reason = f"at [{place}]: {quoted(value)} is no https URL, and a list takes no"
                    yield Problem(name, f"{reason} local files; a single input does")
                    break

    def _is_file(self, name: str) -> bool:
        return _names_files(name, self._shapes[name])

    def _typed(self, name: str, value: Any) -> Json:
        kinds = self._kinds[name]
        is_text = isinstance(value, str)
        if is_text and "text" in kinds and value.isascii() and not self._choices[name]:
            return str(value)
        if is_text or (is_number(value) and kinds and not kinds & {"integer", "number"}):
            value = of_text(value if is_text else as_text(value), kinds, self._choices[name])
        return canonical(value)

    def _problems(
        self, errors: Sequence[ValidationError], checked: Input, refused: set[str]
    ) -> Iterator[Problem]:
        reported = set(refused)
        for error in errors:
            path = list(error.absolute_path)
            if path and (name := str(path[0])) not in reported:
                reported.add(name)
                yield Problem(name, self._reason(name, path[1:], error, checked[name]))
            elif not path and error.validator == "required":
                for name in _texts(error.validator_value):
                    if name not in checked and name not in reported:
                        reported.add(name)
                        yield Problem(name, "is required and not given")
            elif not path and error.validator != "additionalProperties" and "" not in reported:
                reported.add("")
                rule = str(error.validator)[:40]
                yield Problem(
                    "", f"the inputs do not go together by the model's schema ({rule!r});"
                    f" see `fluxbatch models {self.slug}`",
                )  # fmt: skip

    def _reason(
        self, name: str, path: Sequence[object], error: ValidationError, value: object
    ) -> str:
        field = self.inputs[name]
        rule = error.validator_value
        words = {
            "minLength": f"is shorter than {rule} characters",
            "maxLength": f"is longer than {rule} characters",
            "pattern": f"does not match the pattern {quoted(rule)}",
            "minItems": f"has fewer than {rule} items",
            "maxItems": f"has more than {rule} items",
            "uniqueItems": "names a value twice",
            "multipleOf": f"is no multiple of {quoted(rule)}",
            "minimum": f"is below {quoted(rule)}",
            "maximum": f"is above {quoted(rule)}",
            "required": f"lacks {quoted(rule)}",
            "type": f"is not {quoted(rule)}",
            "enum": f"is not one of {quoted(rule)}",
            "additionalProperties": "has a name that is not expected",
        }.get(str(error.validator), f"is not right by {str(error.validator)[:40]!r}")
        if path:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
            return f"at {where[:80]}: {quoted(error.instance)} {words}"
        if error.validator in {"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum",
                               "exclusiveMaximum", "anyOf", "oneOf", None}:  # fmt: skip
            return f"{quoted(value)} is not {field.allowed}"
        return f"{quoted(value)} {words}; it must be {field.allowed}"


def _names_files(name: str, shapes: Sequence[Schema]) -> bool:
    """A text that names a file: by its format, else by how the provider names such inputs."""
    texts = [shape for shape in shapes if "string" in types_of(shape)]
    if not texts or any(choices_of(shape) for shape in texts):
        return False
    formats = [shape["format"] for shape in texts if "format" in shape]
    media = [shape["contentMediaType"] for shape in texts if "contentMediaType" in shape]
    if formats or media:
        return any(one in _FILE_FORMATS for one in formats) or bool(media)
    return _FILE_NAME.fullmatch(name.lower()) is not None


def _kinds_of(shapes: Sequence[Schema]) -> frozenset[str]:
    """The JSON types a value may have, and `text` where strings are free; none is anything."""
    if any(not types_of(shape) and shape.get("type") != "null" for shape in shapes):
        return frozenset()
    kinds = {kind for shape in shapes for kind in types_of(shape)}
    if any("string" in types_of(shape) and not choices_of(shape) for shape in shapes):
        kinds.add("text")
    return frozenset(kinds)


def _is_within(shape: Schema, least: int, most: int) -> bool:
    low, high = _bound(shape, "minimum"), _bound(shape, "maximum")
    return (low is None or low <= least) and (high is None or high >= most) and not any(
        name in shape for name in ("exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    )  # fmt: skip


def _bound(shape: Schema, name: str) -> float | None:
    value = shape.get(name)
    return value if is_number(value) else None


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
