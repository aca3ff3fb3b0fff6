"""A model's inputs as a table for people and as an object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fluxbatch.cli.render.text import folded
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.model_card import ModelDescription
from fluxbatch.domain.formatting import dollars, shortened
from fluxbatch.domain.money import as_usd
from fluxbatch.ledger.operations.model_descriptions import kept_models
from fluxbatch.models import InputField, find_card, known_models

_RANGE = 48
_DEFAULT = 16
_NOTE = 60


def known(folder: Folder | None) -> list[dict[str, Any]]:
    """Models with a typed card, and those the dataset has met."""
    typed: list[dict[str, Any]] = [
        {
            "slug": slug,
            "typed": True,
            "price_usd": _price(find_card(slug).price),
            "fetched_at": None,
        }
        for slug in known_models()
    ]
    if folder is None:
        return typed
    with folder.reader() as db:
        kept = kept_models(db)
    return typed + [
        {
            "slug": one.slug,
            "typed": False,
            "price_usd": None,
            "fetched_at": one.fetched.isoformat(timespec="seconds"),
        }
        for one in kept
    ]


def known_lines(models: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line a model, and how to find out about any other."""
    for one in models:
        what = f"${one['price_usd']} an execution" if one["typed"] else "by the provider's schema"
        yield f"{one['slug']:24}{what}"
    yield ""
    yield "any other of the provider's models runs by its schema: `fluxbatch models SLUG` shows it"


def model_lines(described: ModelDescription, width: int | None = None) -> Iterator[str]:
    """Name and price, then a line an input; two, where *width* columns are too few for one."""
    card = described.card
    yield card.slug + (f"  ({described.title})" if described.title else "")
    yield _price_line(described)
    yield ""
    rows = [("input", "type", "required", "default", "range", "description")]
    rows += [_row(field, is_file=name in card.file_inputs) for name, field in card.inputs.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(wide) for cell, wide in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]
    if width is None or max(len(line.rstrip()) for line in lines) <= width:
        yield from (line.rstrip() for line in lines)
        return
    for row in rows:
        cells = [cell.ljust(wide) for cell, wide in zip(row[:4], widths, strict=False)]
        yield "  ".join(cells).rstrip()
        more = "  ".join(cell for cell in row[4:] if cell)
        if more:
            yield from folded(f"    {more}", width)


def model_json(described: ModelDescription) -> dict[str, Any]:
    """The same for programs, nothing shortened."""
    card = described.card
    return {
        "slug": card.slug,
        "title": described.title or None,
        "price_usd": _price(card.price),
        "told_price_usd": _price(described.told_price),
        "fetched_at": described.fetched and described.fetched.isoformat(timespec="seconds"),
        "inputs": [
            {
                "name": field.name,
                "type": "file" if field.name in card.file_inputs else field.kind,
                "required": field.required,
                "default": field.default,
                "allowed": field.allowed,
                "choices": list(field.choices),
                "minimum": field.least,
                "maximum": field.most,
                "description": field.note,
            }
            for field in card.inputs.values()
        ],
    }


def _row(field: InputField, *, is_file: bool) -> tuple[str, str, str, str, str, str]:
    default = "" if field.default is None else json.dumps(field.default, ensure_ascii=False)
    return (
        field.name,
        "file" if is_file else field.kind,
        "yes" if field.required else "",
        shortened(default, _DEFAULT),
        shortened(_range(field), _RANGE),
        shortened(field.note, _NOTE),
    )


def _range(field: InputField) -> str:
    """What its type alone does not say."""
    nouns = ("text", "an integer", "a number", "true or false", "a list", "an object", "anything")
    if field.choices and not field.shape:
        return ", ".join(field.choices)
    allowed = field.allowed
    if allowed in nouns:
        return ""
    return allowed.removeprefix("an integer ").removeprefix("a number ").removeprefix("one of ")


def _price_line(described: ModelDescription) -> str:
    card = described.card
    if card.price is not None:
        return f"{dollars(card.price)} an execution"
    if described.told_price is None:
        return "price unknown; `price:` in the config sets it"
    price = dollars(described.told_price)
    return f"{price} an execution by the provider's page; caps need `price:` in the config"


def _price(amount: Any) -> str | None:
    return as_usd(amount) if amount is not None else None
