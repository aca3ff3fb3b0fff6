"""The address of the live grid: what a page may ask of it, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.live.grid_view import GridChoice
from fluxbatch.live.live_grid import GridQuestion, LiveGrid

MOST_CELLS = 2_000
"""Answered at once: more than any screen shows."""
_MOST_TEXT = 2_000
_MOST_FIXED = 20
_FIXED = "is."
"""What the parameter of an axis with one value begins with."""


class GridRoutes:
    """Answers from the ledger alone, on a connection of its own."""

    def __init__(self, read: LedgerReader) -> None:
        self._read = read
        self._grid = LiveGrid()

    def table(self) -> list[web.RouteDef]:
        return [web.get("/api/grid", self._cells)]

    async def _cells(self, request: web.Request) -> web.StreamResponse:
        question = _question(request.query)
        told: dict[str, Any] = await self._read(partial(self._grid.answer, question=question))
        text = json.dumps(told, ensure_ascii=True, separators=(",", ":"))
        return web.Response(text=text, content_type="application/json")


def _question(asked: Mapping[str, str]) -> GridQuestion:
    if any(len(value) > _MOST_TEXT for value in asked.values()):
        raise web.HTTPBadRequest
    numbers = {name: _number(asked.get(name, "0")) for name in ("left", "top", "wide", "high")}
    if numbers["wide"] * numbers["high"] > MOST_CELLS:
        raise web.HTTPBadRequest
    return GridQuestion(_choice(asked), **numbers, known=_number(asked.get("known", "0")))


def _choice(asked: Mapping[str, str]) -> GridChoice | None:
    if "across" not in asked:
        return None
    fixed = sorted(
        (name.removeprefix(_FIXED), value)
        for name, value in asked.items()
        if name.startswith(_FIXED)
    )
    if len(fixed) > _MOST_FIXED:
        raise web.HTTPBadRequest
    return GridChoice(
        across=asked["across"],
        down=asked.get("down", ""),
        facets_across=asked.get("facets_across", ""),
        facets_down=asked.get("facets_down", ""),
        fixed=tuple(fixed),
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise web.HTTPBadRequest
    return int(text)
