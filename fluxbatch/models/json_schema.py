"""The safe reader of a JSON Schema from another server.

Owns what a schema may cost us: its size, the steps one check may take, patterns that never
backtrack, references that never leave the document. What cannot be checked within that (a
pattern with look-around, a reference that leads nowhere or elsewhere) is no rule here: the provider
checks it as well, and its refusal is free. Knows JSON Schema and nothing of models or rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft4Validator, Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as NoMatch
from referencing import Registry
from referencing.exceptions import Unresolvable

Schema = Mapping[str, Any]
_Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

MAX_SCHEMA_BYTES = 128_000
MOST_DEPTH = 32
MAX_SCHEMA_STEPS = 50_000
"""Keywords looked at in one check; a schema of everyday size takes some hundred."""

_MOST_ERRORS = 20
_MOST_REMEMBERED = 20_000
_BY_PROPERTY = frozenset({"type", "properties", "required", "additionalProperties", "format"})
"""Keywords at the top under which each property can be judged by itself."""
_BY_TYPE = frozenset({"type", "format"})
"""Keywords that look at a value's type alone."""


class UnusableSchema(Exception):
    """No schema, or one that asks for too much; says what is wrong with it."""


class SchemaRules:
    """One schema, ready to check values with. Not for two threads at once."""

    def __init__(self, schema: Schema) -> None:
        _refuse_size(schema)
        self._schema = schema
        self._steps = 0
        draft = _draft_of(schema)
        keywords = {name: self._counted(check) for name, check in draft.VALIDATORS.items()}
        keywords |= {
            "$ref": self._counted(_followed(draft.VALIDATORS["$ref"])),
            "pattern": self._counted(_pattern),
            "patternProperties": self._counted(_pattern_properties),
            "additionalProperties": self._counted(_additional_properties),
            # Both look through every branch again by themselves, uncounted.
            "unevaluatedProperties": self._counted(_nothing),
            "unevaluatedItems": self._counted(_nothing),
        }
        if "$dynamicRef" in draft.VALIDATORS:
            keywords["$dynamicRef"] = self._counted(_followed(draft.VALIDATORS["$dynamicRef"]))
        bounded: Any = validators.extend(draft, keywords)  # type: ignore[no-untyped-call]
        # A registry of our own: the library's default one would fetch what a reference names.
        self._validator: Any = bounded(dict(schema), registry=Registry())
        self._is_flat = schema.keys() & draft.VALIDATORS.keys() <= _BY_PROPERTY
        self._plain = {
            name
            for name, rule in _rules_of(schema).items()
            if isinstance(rule, Mapping) and rule.keys() & draft.VALIDATORS.keys() <= _BY_TYPE
        }
        self._by_name: dict[str, Any] = {}
        self._fine: set[tuple[object, ...]] = set()
        """Values found right before, by property; of plain properties their types."""

    def are_known_right(self, values: Mapping[str, Any]) -> bool:
        """Whether nothing is wrong with *values*, as far as earlier ones show.

        Rows come by the million and their columns repeat: the long way costs four times as much.
        """
        required = self._schema.get("required", ())
        if not self._is_flat or any(name not in values for name in required):
            return False
        return all(self._is_right(name, value) for name, value in values.items())

    def _is_right(self, name: str, value: object) -> bool:
        kind = type(value)
        if kind is list or kind is dict:
            return not self.errors_of(name, value)
        mark = (name, kind) if name in self._plain else (name, kind, value)
        if mark not in self._fine:
            if self.errors_of(name, value):
                return False
            if len(self._fine) >= _MOST_REMEMBERED:
                self._fine.clear()
            self._fine.add(mark)
        return True

    def errors(self, value: object) -> list[ValidationError]:
        """What is wrong with *value*, the first twenty; raise `UnusableSchema`."""
        return self._errors(self._validator, value)

    def errors_of(self, name: str, value: object) -> list[ValidationError]:
        """What is wrong with *value* for the property *name* alone."""
        if name not in self._by_name:
            rule = _rules_of(self._schema)[name]
            self._by_name[name] = self._validator.evolve(schema=rule)
        return self._errors(self._by_name[name], value)

    def _errors(self, validator: Any, value: object) -> list[ValidationError]:
        self._steps = 0
        found = []
        try:
            for error in validator.iter_errors(value):
                found.append(error)
                if len(found) == _MOST_ERRORS:
                    break
        except UnusableSchema:
            raise
        except RecursionError:
            raise UnusableSchema("it refers to itself without end") from None
        except Exception as exc:
            # A schema from elsewhere may make the library fail anywhere.
            raise UnusableSchema(f"it cannot be worked through: {type(exc).__name__}") from exc
        return found

    def _counted(self, check: Any) -> _Keyword:
        def counted(validator: Any, rule: Any, value: Any, schema: Any) -> Any:
            self._steps += 1
            if self._steps > MAX_SCHEMA_STEPS:
                raise UnusableSchema(f"a check takes more than {MAX_SCHEMA_STEPS:,} steps")
            return check(validator, rule, value, schema)

        return counted


def _rules_of(schema: Schema) -> Mapping[str, Any]:
    rules = schema.get("properties")
    return rules if isinstance(rules, Mapping) else {}


def _draft_of(schema: Schema) -> Any:
    """The draft that the schema names; where it names none, the newest it is valid in."""
    drafts: list[Any] = [Draft202012Validator, Draft4Validator]
    if isinstance(schema.get("$schema"), str):
        drafts = [validators.validator_for(dict(schema), default=Draft202012Validator)]
    reason = ""
    for draft in drafts:
        try:
            draft.check_schema(schema, format_checker=None)
        except SchemaError as exc:
            where = "/".join(map(str, exc.absolute_path)) or "its top"
            reason = reason or f"{where[:80]!r} is not valid by {draft.__name__}"
        except Exception as exc:  # noqa: BLE001  # an untrusted schema, whatever fails
            reason = reason or f"it cannot be read: {type(exc).__name__}"
        else:
            return draft
    raise UnusableSchema(reason)


def _refuse_size(schema: Schema) -> None:
    if not isinstance(schema, Mapping):
        raise UnusableSchema("it is no object")
    if _depth(schema, MOST_DEPTH) > MOST_DEPTH:
        raise UnusableSchema(f"it is more than {MOST_DEPTH} levels deep")
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise UnusableSchema(f"it is no JSON: {exc}") from None
    if size > MAX_SCHEMA_BYTES:
        raise UnusableSchema(f"it has {size:,} bytes, more than {MAX_SCHEMA_BYTES:,}")


def _depth(value: object, left: int) -> int:
    if left < 0 or not isinstance(value, Mapping | list):
        return 1
    inner = value.values() if isinstance(value, Mapping) else value
    return 1 + max((_depth(item, left - 1) for item in inner), default=0)


def _nothing(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    return iter(())


def _followed(follow: Any) -> _Keyword:
    def followed(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if not isinstance(rule, str):
            return
        try:
            yield from follow(validator, rule, value, schema) or ()
        except (Unresolvable, ValueError):
            return  # it leads nowhere, or away from here

    return followed


def _pattern(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _matches(rule, value):
        yield ValidationError(f"does not match {rule!r}")


def _pattern_properties(
    validator: Any, rule: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(value, Mapping):
        return
    for pattern, inner in rule.items():
        for name, item in value.items():
            if _matches(pattern, name, unknown=False):
                yield from validator.descend(item, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, rule: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(value, Mapping):
        return
    patterns = schema.get("patternProperties", {})
    known = schema.get("properties", {})
    for name, item in value.items():
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if isinstance(rule, Mapping):
            yield from validator.descend(item, rule, path=name)
        elif rule is False:
            yield ValidationError(f"{name[:80]!r} is not expected")


def _matches(pattern: object, text: str, *, unknown: bool = True) -> bool:
    """Whether *pattern* is found in *text*; *unknown* where it cannot be looked for safely."""
    search = _searcher(pattern) if isinstance(pattern, str) else None
    if search is None:
        return unknown
    try:
        search.validate_python(text)
    except NoMatch:
        return False
    return True


@lru_cache(maxsize=256)
def _searcher(pattern: str) -> SchemaValidator | None:
    """A pattern in linear time: pydantic's Rust engine has no backtracking and bounded size."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except PatternError:
        return None
