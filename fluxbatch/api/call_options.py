"""The options that Python callers pass, checked by name before anything is bought.

Owns which keywords there are and what each may be. A misspelt cap would be no cap, a text is no
list of keys, and numbers of numpy are numbers. What the values mean is the settings' to say.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.types import MOST_COUNT
from fluxbatch.errors import ConfigError

Check = Callable[[str, Any], Any]


def checked_options(verb: str, given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """*given* as what they stand for; None is as if it were not given.

    Raises `TypeError` for a keyword that *verb* does not know, `ConfigError` naming a value that
    cannot be meant.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}{hint}")
    return {name: _CHECKS[name](name, value) for name, value in given.items() if value is not None}


def checked_path(name: str, value: Any) -> Path:
    """Raises `ConfigError` for what is no path; an empty one is not the working folder."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        # An empty `Path` is a dot by now; a dot that was typed is a text.
        if isinstance(text, str) and text.strip() and (isinstance(value, str) or text != "."):
            return Path(text)
        if isinstance(text, str):
            raise ConfigError(f"{name} is empty; name a path, or write '.' as text")
    raise ConfigError(f"{name} is {_kind(value)}; give a path as text or as a Path")


def checked_source(value: Any) -> Any:
    """A manifest's or config's path, an iterable of rows, or None; raises `ConfigError`."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        return checked_path("source", value)
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(
            f"source is {_kind(value)}; give a path, or a list of rows (each a mapping of columns)"
        )
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        raise ConfigError("source is a data frame; give its rows: frame.to_dict('records')")
    return value


def plain_value(value: Any) -> Any:
    """*value* with numbers as Python's own, whatever library they come from; else as it is."""
    if isinstance(value, str | bool | int | None) or type(value) is float:
        return value
    if isinstance(value, Mapping):
        return {name: plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Decimal | Real):
        number = float(str(value)) if not isinstance(value, Real) else _shortest(value)
        return int(number) if isinstance(value, Decimal) and number.is_integer() else number
    is_one_of_numpy = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_one_of_numpy else value


def _shortest(value: Any) -> float:
    """A 32-bit fraction is the shortest decimal that it stands for: 7.1."""
    try:
        return float(str(value))
    except ValueError:
        return float(value)


def _kind(value: Any) -> str:
    return type(value).__name__


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {_kind(value)}; give text")
    if not value.strip():
        raise ConfigError(f"{name} is empty; give a value, or leave it out")
    return value


def _amount(name: str, value: Any) -> str:
    plain = value if isinstance(value, Decimal) else plain_value(value)
    if isinstance(plain, bool) or not isinstance(plain, str | int | float | Decimal):
        raise ConfigError(f"{name} is {_kind(value)}; give US dollars, like '12.50' or 12.5")
    return str(plain)


def _truth(name: str, value: Any) -> bool:
    plain = plain_value(value)
    if not isinstance(plain, bool):
        raise ConfigError(f"{name} is {value!r}; give True or False")
    return plain


def _count(name: str, value: Any, least: int = 1) -> int:
    plain = plain_value(value)
    if isinstance(plain, bool) or not isinstance(plain, int) or not least <= plain <= MOST_COUNT:
        raise ConfigError(f"{name} is {value!r}; give a whole number of at least {least}")
    return plain


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {_kind(value)}; give a mapping, as {{'limits.creates': 50}}")
    for setting in value:
        if not isinstance(setting, str):
            raise ConfigError(f"{name}: {setting!r} is no name of a setting")
    plain: dict[str, Any] = plain_value(value)
    return plain


def _keys(name: str, value: Any) -> list[str | ApiKey]:
    """One key may be given alone."""
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(
        value, str | ApiKey | Iterable
    ):
        raise ConfigError(f"{name} is {_kind(value)}; give a list of keys, each as text")
    keys = [value] if isinstance(value, str | ApiKey) else list(value)
    for key in keys:
        if not isinstance(key, str | ApiKey) or (isinstance(key, str) and not key.strip()):
            what = "empty" if isinstance(key, str) else _kind(key)
            raise ConfigError(f"{name}: a key is {what}; give each as text")
    if not keys:
        raise ConfigError(f"{name} is an empty list; leave it out to use the environment's keys")
    return keys


def _call(name: str, value: Any) -> Any:
    if not callable(value):
        raise ConfigError(f"{name} is {_kind(value)}; give a function")
    return value


_CHECKS: Mapping[str, Check] = {
    "base_url": _text,
    "budget": _amount,
    "model": _text,
    "settings": _table,
    "keys": _keys,
    "skip_invalid": _truth,
    "no_wait": _truth,
    "limit": _count,
    "run_name": _text,
    "on": _text,
    "workers": partial(_count, least=0),
    "progress": _truth,
    "on_event": _call,
    "on_status": _call,
}


def why_not_json(value: Any) -> str | None:
    """Why a row's value cannot be written; None where it can."""
    left, most = [value], 100_000
    while left and most:
        most -= 1
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return f"is {one}, which is no number; leave it out, or give None"
        if isinstance(one, bytes | bytearray):
            return "is bytes; decode them to text"
        if isinstance(one, Mapping):
            if any(not isinstance(name, str) for name in one):
                return "has a name that is no text"
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif not isinstance(one, str | bool | int | float | os.PathLike | None):
            return f"is {_kind(one)}, which is no text and no number"
    return None if not left else "has more than 100,000 values"
