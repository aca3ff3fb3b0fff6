"""The coercion of a row's values to JSON, by the types a schema allows.

Owns the meaning of a table's text, and the one form of a value that names a job
(docs/design/protocol.md 1):
an integral number has no point, wherever it stands. Nothing is lost on the way: what has no
exact form is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from fluxbatch.domain.job import Json, canonical_json
from fluxbatch.models.card import MOST_SAFE

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 40
_MOST_DEPTH = 40


class NoJson(Exception):
    """A value that JSON does not carry to everybody alike."""


def of_text(text: str, kinds: Collection[str], choices: Sequence[object]) -> object:
    """What a table's text stands for; the text itself where any text is right, or nothing fits.

    *kinds* are the JSON types allowed, and `text` where strings are not enumerated; none is any.

    A choice by its number too: spreadsheets write "0.50" for 0.5.
    """
    stripped = text.strip()
    if choices and text not in choices:
        same = next((one for one in choices if _is_same(one, stripped)), None)
        if same is not None:
            return same
    if not kinds or "text" in kinds:
        return text
    if (
        ("integer" in kinds or "number" in kinds)
        and _NUMBER.fullmatch(stripped)
        and len(stripped) <= _MOST_DIGITS
    ):
        return int(stripped) if stripped.lstrip("+-").isdigit() else float(stripped)
    if "boolean" in kinds and stripped.lower() in {"true", "false"}:
        return stripped.lower() == "true"
    if ("array" in kinds or "object" in kinds) and stripped[:1] in ("[", "{"):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            return text
    return text


def _is_same(choice: object, text: str) -> bool:
    if isinstance(choice, bool) or not isinstance(choice, str | int | float):
        return False
    try:
        return float(choice) == float(text)
    except (ValueError, OverflowError):
        return choice == text


def canonical(value: Any) -> Json:
    """*value* in the one form that names a job; raise `NoJson`."""
    kind = type(value)
    if kind is bool or (kind is int and -MOST_SAFE <= value <= MOST_SAFE):
        return bool(value) if kind is bool else int(value)
    try:
        plain: Json = _plain(value, 0)
        canonical_json({"": plain})
    except (ValueError, RecursionError):  # half a surrogate pair, or deeper than anybody reads
        raise NoJson("cannot be written as JSON") from None
    return plain


def _plain(value: Any, depth: int) -> Any:
    if depth > _MOST_DEPTH:
        raise NoJson("is nested too deeply")
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST_SAFE:
        raise NoJson(f"is beyond {MOST_SAFE}, the largest integer that JSON keeps exactly")
    if isinstance(value, float) and not math.isfinite(value):
        raise NoJson("is no finite number")
    if value is None or isinstance(value, str | int | float):
        return value
    raise NoJson(f"is {type(value).__name__}, which JSON has not")


def as_text(value: Any) -> str:
    """A finite number as people write it."""
    return repr(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)


def is_number(value: object) -> bool:
    """A finite number that is no boolean."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
