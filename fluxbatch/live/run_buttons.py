"""The buttons of the live page: a run at work paused, resumed, stopped, its cap changed.

Owns which commands a page may send. Each goes the way of `fluxbatch ctl`, over the dataset's
socket, so that whoever serves the page must be whom the run belongs to.
Source: docs/guide/live-page.md.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from aiohttp import web

from fluxbatch.dataset.control_client import control
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import FluxbatchError
from fluxbatch.infra.runtime import in_thread

ALLOWED = ("pause", "resume", "stop", "budget")
_MOST_TEXT = 500


class RunButtons:
    """Answers for the run at work in one dataset, if there is one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def table(self) -> list[web.RouteDef]:
        return [web.get("/api/run", self._shown), web.post("/api/run", self._pressed)]

    async def _shown(self, _: web.Request) -> web.StreamResponse:
        return await self._sent("show", "", "")

    async def _pressed(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = await request.json()
            command, value, reason = (
                asked.get(name, "") for name in ("command", "value", "reason")
            )
        except (json.JSONDecodeError, AttributeError):
            raise web.HTTPBadRequest from None
        if command not in ALLOWED or not (_is_short(value) and _is_short(reason)):
            raise web.HTTPBadRequest
        return await self._sent(command, value, reason)

    async def _sent(self, command: str, value: str, reason: str) -> web.StreamResponse:
        """What the run answers; where none is at work, that as `error`."""
        ask = partial(control, self._folder, command, value, reason=reason)
        try:
            return web.json_response(await in_thread(ask))
        except FluxbatchError as exc:
            told: dict[str, Any] = {"error": str(exc)}
            return web.json_response(told, status=200 if command == "show" else 409)


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _MOST_TEXT
