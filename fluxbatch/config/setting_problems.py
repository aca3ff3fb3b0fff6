"""The problems of settings in plain words: a line each, the dotted name first.

Owns how a validator's complaint is said to people. Values stay hidden, they may be secrets. Knows
no setting: their names are passed in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import ValidationError

_WORDS: Mapping[str, str] = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a table of names and values",
    "missing": "is missing",
}
_OF_KEYS: Mapping[str, str] = {
    "key": "must be env:NAME or file:PATH",
    "label": "may have letters, digits, `.`, `_` and `-` alone",
    "account": "may have letters, digits, `.`, `_` and `-` alone",
}
_TABLES = {"model_type", "model_attributes_type", "dataclass_type"}


def problem_lines(
    exc: ValidationError, names: Collection[str], at: Callable[[tuple[str | int, ...]], str]
) -> list[str]:
    """One line a setting; *names* are all there are, *at* says where in a file one stands."""
    lines = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        place = error["loc"]
        name = ".".join(str(part) for part in place) or "(file)"
        lines.append(f"  {name}: {_said(name, error, names)}{at(place)}")
    return list(dict.fromkeys(lines))


def no_such(name: str, names: Collection[str]) -> str:
    """That *name* is no setting, with the nearest that is."""
    folded = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return "no such setting" + (f"; did you mean {folded[near[0]]!r}?" if near else "")


def _said(name: str, error: Any, names: Collection[str]) -> str:
    kind: str = error["type"]
    if kind == "extra_forbidden":
        return no_such(name, names)
    if kind in _TABLES:
        inner = [known.rpartition(".")[2] for known in names if known.startswith(f"{name}.")]
        if not inner:
            return "must be a table of names and values"
        return f"is a section; write a setting of it, as in {name}: {{{inner[0]}: …}}"
    last = str(error["loc"][-1]) if error["loc"] else ""
    if kind in {"string_pattern_mismatch", "string_too_short"} and last in _OF_KEYS:
        return _OF_KEYS[last]
    return plain_words(error)


def plain_words(error: Any) -> str:
    """What one of pydantic's errors says of a value, to follow its name."""
    said: str = error["msg"]
    said = said.removeprefix("Value error, ").replace("Input should be", "must be")
    return _WORDS.get(error["type"], said)
