"""The description of one schema value in types and in words.

Owns the flat view of a schema: references followed, combinations taken apart, as far as a
person would. It is for coercion, tables and messages; `json_schema` decides
whether a value is right. A schema from elsewhere may refer to itself, so every walk ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from fluxbatch.models.json_schema import Schema

_MOST_ALTERNATIVES = 32
_MOST_VISITS = 300
_MOST_HOPS = 8
_MOST_NESTED = 2
_MOST_SHOWN = 20
_COMBINED = ("$ref", "allOf", "anyOf", "oneOf")


def alternatives(schema: object, root: Schema) -> list[Schema]:
    """What *schema* comes down to: flat schemas, one of which applies.

    References within *root* are followed and `allOf` is merged; what leads nowhere is left out.
    """
    return list(islice(_Walk(root).flat(schema, _MOST_HOPS), _MOST_ALTERNATIVES))


class _Walk:
    """One walk through a document, with an end."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = _MOST_VISITS

    def flat(self, schema: object, hops: int) -> Iterator[Schema]:
        self._left -= 1
        if not isinstance(schema, Mapping) or hops == 0 or self._left < 0:
            return
        bases: list[Schema] = [{k: v for k, v in schema.items() if k not in _COMBINED}]
        parts = _listed(schema.get("allOf"))
        if isinstance(reference := schema.get("$ref"), str):
            parts = [self._pointed(reference), *parts]
        for part in parts:
            found = list(islice(self.flat(part, hops - 1), _MOST_ALTERNATIVES)) or [{}]
            merged = ({**one, **base} for base in bases for one in found)
            bases = list(islice(merged, _MOST_ALTERNATIVES))
        branches = [*_listed(schema.get("anyOf")), *_listed(schema.get("oneOf"))]
        if not branches:
            yield from bases
        for branch in branches:
            for one in self.flat(branch, hops - 1):
                yield from ({**base, **one} for base in bases)

    def _pointed(self, reference: str) -> object:
        """What a reference within the document points at; None for any other."""
        found: object = self._root
        if not reference.startswith("#"):
            return None
        for part in filter(None, reference[1:].split("/")):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def words_of(shapes: Sequence[Schema], root: Schema, nested: int = 0) -> str:
    """What a value may be, to follow "is not": `an integer from 1 to 4`, `one of 'a', 'b'`."""
    words = list(dict.fromkeys(_words(shape, root, nested) for shape in shapes))
    return " or ".join(filter(None, words)) or "anything"


def types_of(shape: Schema) -> list[str]:
    """The JSON types a flat schema allows, but null; none named is any."""
    kinds = shape.get("type")
    named = [kinds] if isinstance(kinds, str) else _listed(kinds)
    if not named and (values := choices_of(shape)):
        named = list(dict.fromkeys(_type_of(value) for value in values))
    return [str(kind) for kind in named if kind != "null"]


def choices_of(shape: Schema) -> list[Any]:
    """The values a flat schema enumerates, but null."""
    values = [shape["const"]] if "const" in shape else _listed(shape.get("enum"))
    return [value for value in values if value is not None]


def _type_of(value: object) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


_NOUNS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def _words(shape: Schema, root: Schema, nested: int) -> str:
    if values := choices_of(shape):
        shown = ", ".join(repr(value)[:40] for value in values[:_MOST_SHOWN])
        return f"one of {shown}" if len(values) <= _MOST_SHOWN else f"one of {shown}, …"
    kinds = types_of(shape)
    if not kinds:
        return "" if shape.get("type") == "null" else "anything"
    return " or ".join(_noun(kind, shape, root, nested) for kind in kinds)


def _noun(kind: str, shape: Schema, root: Schema, nested: int) -> str:
    noun = _NOUNS.get(kind, kind)
    if kind in {"integer", "number"}:
        return f"{noun}{bounds_of(shape)}"
    if kind == "array":
        inner = "anything"
        if nested < _MOST_NESTED:
            inner = words_of(alternatives(shape.get("items"), root), root, nested + 1)
        sizes = _sizes(shape, "minItems", "maxItems", "items")
        if inner == "anything":
            return f"{noun}{sizes}"
        return f"{noun}{sizes}: {inner}" if sizes else f"{noun} of {inner}"
    if kind == "object":
        names = shape.get("properties")
        shown = [str(name)[:40] for name in names] if isinstance(names, Mapping) else []
        return f"{noun} with {', '.join(shown[:_MOST_SHOWN])}" if shown else noun
    return f"{noun}{_sizes(shape, 'minLength', 'maxLength', 'characters')}"


def bounds_of(shape: Schema) -> str:
    """` from 1 to 4`, ` of at least 1`, ` of at most 4`, ` above 0`, or nothing."""
    least, most = shape.get("minimum"), shape.get("maximum")
    above, below = shape.get("exclusiveMinimum"), shape.get("exclusiveMaximum")
    if _is_number(least) and _is_number(most):
        return f" from {least} to {most}"
    words = [
        f"{word} {bound}"
        for word, bound in (("of at least", least), ("above", above), ("of at most", most),
                            ("below", below))
        if _is_number(bound)
    ]  # fmt: skip
    return f" {' and '.join(words)}" if words else ""


def _sizes(shape: Schema, least: str, most: str, what: str) -> str:
    words = [
        f"{word} {shape[name]}"
        for word, name in (("at least", least), ("at most", most))
        if _is_number(shape.get(name))
    ]
    return f" of {' and '.join(words)} {what}" if words else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
