"""The facts an image carries without its dataset, from its sidecar or its own file.

Owns where they are looked for, and how they are printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fluxbatch.cli.render.text import CREDENTIALS, cut, label_line, local_time
from fluxbatch.domain.formatting import size
from fluxbatch.sink.image_facts import ImageFacts

_CHARS_SHOWN = 2_000
"""Of an input; `--json` has all of it."""


def facts_lines(image: ImageFacts) -> Iterator[str]:
    """The facts, label by label; whatever is not there is left out."""
    facts = image.facts
    where = "in the file itself" if image.source == "embedded" else f"in {image.source}"
    yield label_line("file", str(image.path))
    yield label_line("", f"what it tells is {where}; no ledger was asked")
    if image.is_whole is False:
        yield label_line("", "its bytes are NOT those that were delivered")
    if image.is_signed:
        yield label_line("", CREDENTIALS)
    edition = f", edition {_plus_one(facts['edition'])}" if "edition" in facts else ""
    yield label_line("job", f"{facts['job']}, image {_plus_one(facts.get('number'))}{edition}")
    row = facts.get("row")
    if isinstance(row, dict):
        name = f" {row['id']!r}" if row.get("id") is not None else ""
        yield label_line("row", f"#{row.get('number')}{name}")
        for name, value in _pairs(row.get("axes")):
            yield label_line("", f"{name} = {_text(value)}")
    yield label_line("model", _text(facts.get("model", "")))
    for number, (name, value) in enumerate(_pairs(facts.get("input"))):
        yield label_line("input" if number == 0 else "", f"{name} = {_text(value)}")
    if "control_sha256" in facts:
        yield label_line("control", f"sha256 {facts['control_sha256']}")
    yield label_line("seed", _text(facts.get("seed", "chosen by the provider")))
    measures = f"{facts.get('width')} x {facts.get('height')} {facts.get('mime')}"
    yield label_line("delivered", f"{measures}, {size(_whole_number(facts.get('bytes')) or 0)}")
    yield label_line("", f"sha256 {facts.get('sha256')}")
    yield label_line("made by", f"{facts.get('prediction_id')}, run {facts.get('run')}")
    yield label_line("", _text(facts.get("tool", "")))
    yield label_line("bought at", f"{local_time(_text(facts.get('created_at', '')))} UTC")
    yield label_line("stored at", f"{local_time(_text(facts.get('stored_at', '')))} UTC")


def facts_json(image: ImageFacts) -> dict[str, Any]:
    """The object of `show FILE --json`."""
    return {
        "file": str(image.path),
        "source": image.source,
        "is_whole": image.is_whole,
        "has_credentials": image.is_signed,
        "facts": image.facts,
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
    text = cut(text, _CHARS_SHOWN)
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
