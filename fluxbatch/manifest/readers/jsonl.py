"""JSON Lines manifests: one object a line to one record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pydantic_core import from_json

from fluxbatch.manifest.readers.records import NOT_UTF8, TOO_LONG, Lines, Record


def read_jsonl(lines: Lines) -> Iterator[Record]:
    """One object a line; empty lines are skipped."""
    for number, line in lines:
        if line is None:
            yield number, TOO_LONG
            continue
        try:
            value = from_json(line, allow_inf_nan=False, cache_strings="keys")
        except ValueError as exc:
            if line.strip():
                yield number, _why_not_json(line, exc)
            continue
        if type(value) is not dict:
            yield number, 'the line is not a JSON object like {"prompt": "..."}'
        elif _may_repeat_a_name(line, value) and (name := _repeated_name(line)) is not None:
            yield number, f"the name {name!r} stands twice in the object"
        else:
            yield number, value


def _why_not_json(line: bytes, exc: ValueError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if "recursion limit" in str(exc):
        return "the line is nested too deep to be an object of inputs"
    return f"the line is not JSON: {str(exc).replace(' at line 1 column', ' at column')}"


def _may_repeat_a_name(line: bytes, value: Mapping[str, object]) -> bool:
    """Cheap, and right when it says no: as many `":` as names, none with space between."""
    names = len(value)
    written = line.count(b'":')
    if written != names:  # an object like `meta` has names of its own
        names += sum(len(inner) for inner in value.values() if type(inner) is dict)
    return written != names or b'" ' in line or b'"\t' in line or b'"\r' in line


def _repeated_name(line: bytes) -> str | None:
    """The parser keeps the last of two equal names, and what was lost would cost money."""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated.extend(name for name in names if names.count(name) > 1)

    try:
        json.loads(line, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return None
    return repeated[0] if repeated else None
