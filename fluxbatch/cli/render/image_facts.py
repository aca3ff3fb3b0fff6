"""What an image tells of itself, without its dataset: from its sidecar, or out of its own file.

Owns where that is looked for, and how it is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fluxbatch.cli.render.text import line, moment
from fluxbatch.domain.formatting import size
from fluxbatch.sink.image_facts import Told


def told_lines(told: Told) -> Iterator[str]:
    """The facts, label by label; whatever is not there is left out."""
    facts = told.facts
    where = "in the file itself" if told.source == "embedded" else f"in {told.source}"
    yield line("file", str(told.path))
    yield line("", f"what it tells is {where}; no ledger was asked")
    if told.is_whole is False:
        yield line("", "its bytes are NOT those that were delivered")
    edition = f", edition {_plus_one(facts['edition'])}" if "edition" in facts else ""
    yield line("job", f"{facts['job']}, image {_plus_one(facts.get('number'))}{edition}")
    row = facts.get("row")
    if isinstance(row, dict):
        name = f" {row['id']!r}" if row.get("id") is not None else ""
        yield line("row", f"#{row.get('number')}{name}")
        for name, value in _pairs(row.get("axes")):
            yield line("", f"{name} = {_text(value)}")
    yield line("model", _text(facts.get("model", "")))
    for number, (name, value) in enumerate(_pairs(facts.get("input"))):
        yield line("input" if number == 0 else "", f"{name} = {_text(value)}")
    if "control_sha256" in facts:
        yield line("control", f"sha256 {facts['control_sha256']}")
    yield line("seed", _text(facts.get("seed", "chosen by the provider")))
    measures = f"{facts.get('width')} x {facts.get('height')} {facts.get('mime')}"
    yield line("delivered", f"{measures}, {size(_whole_number(facts.get('bytes')) or 0)}")
    yield line("", f"sha256 {facts.get('sha256')}")
    yield line("made by", f"{facts.get('prediction_id')}, run {facts.get('run')}")
    yield line("", _text(facts.get("tool", "")))
    yield line("bought at", f"{moment(_text(facts.get('created_at', '')))} UTC")
    yield line("stored at", f"{moment(_text(facts.get('stored_at', '')))} UTC")


def told_json(told: Told) -> dict[str, Any]:
    """The object of `show FILE --json`."""
    return {
        "file": str(told.path),
        "source": told.source,
        "is_whole": told.is_whole,
        "facts": told.facts,
    }


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Somebody else may have edited the file."""
    yield from value.items() if isinstance(value, dict) else ()


def _plus_one(value: object) -> str:
    number = _whole_number(value)
    return "?" if number is None else str(number + 1)


def _whole_number(value: object) -> int | None:
    """JSON's may have thousands of digits, which no float and no text takes."""
    return value if isinstance(value, int) and abs(value) < 2**63 else None


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
