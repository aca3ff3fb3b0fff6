"""An HTTP server that gives prepared answers, one a request, and keeps the requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict


@dataclass
class Answer:
    status: int = 200
    body: object = field(default_factory=dict)
    """Bytes as they are, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Request:
    method: str
    path: str
    """As sent, query included."""
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    base_url: str
    answers: list[Answer]
    """The last one is given again and again."""
    requests: list[Request] = field(default_factory=list)


@asynccontextmanager
async def scripted_server(*answers: Answer) -> AsyncIterator[ScriptedServer]:
    script = ScriptedServer("", list(answers))

    async def handle(request: web.Request) -> web.Response:
        script.requests.append(
            Request(
                request.method,
                request.raw_path,
                CIMultiDict(request.headers),
                dict(request.query),
                await request.read(),
            )
        )
        answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        return web.Response(
            status=answer.status,
            body=answer.content(),
            headers={"Content-Type": "application/json", **answer.headers},
        )

    app = web.Application(client_max_size=100_000_000)
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        script.base_url = str(server.make_url("")).rstrip("/")
        yield script
