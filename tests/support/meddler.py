"""A server between fluxbatch and the emulator that changes what passes through it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import TestServer
from yarl import URL

_HOP_BY_HOP = frozenset({"host", "accept-encoding", "connection", "content-length"})


@dataclass(frozen=True)
class Passing:
    """One answer on its way back."""

    method: str
    path: str
    """As sent, query included."""
    status: int
    headers: Mapping[str, str]
    body: bytes
    key: str = ""
    """The key the request came with."""
    asked: bytes = field(default=b"", repr=False)

    @property
    def is_file(self) -> bool:
        """An output is being downloaded."""
        return self.method == "GET" and not self.path.startswith("/v1")

    @property
    def is_create(self) -> bool:
        return self.method == "POST" and self.path.rstrip("/").endswith("/prediction")

    @property
    def is_poll(self) -> bool:
        return self.method == "GET" and self.path.startswith("/v1/prediction/")

    def json(self) -> Any:
        return json.loads(self.body)

    def with_json(self, value: object) -> Passing:
        return replace(self, body=json.dumps(value).encode())


Change = Callable[[Passing], Passing]


@asynccontextmanager
async def meddler(base_url: str, change: Change) -> AsyncIterator[str]:
    """The base URL of a provider like the one at *base_url*, but for *change*; what it links to
    comes through here as well."""
    upstream = base_url.removesuffix("/v1")

    async def handle(request: web.Request) -> web.Response:
        asked = await request.read()
        path = request.raw_path
        here = f"http://{request.host}"
        headers = {n: v for n, v in request.headers.items() if n.lower() not in _HOP_BY_HOP}
        target = URL(upstream + path.partition("?meddled=")[0], encoded=True)
        async with session.request(
            request.method,
            target,
            data=asked.replace(here.encode(), upstream.encode()),
            headers=headers,
            allow_redirects=False,
        ) as got:
            body = await got.read()
            mime = got.headers.get("Content-Type", "application/octet-stream").partition(";")[0]
            answer = Passing(
                request.method,
                path,
                got.status,
                {"Content-Type": mime, "Date": got.headers.get("Date", "")},
                body,
                request.headers.get("X-API-Key", ""),
                asked,
            )
        if not answer.is_file:
            answer = replace(answer, body=body.replace(upstream.encode(), here.encode()))
        changed = change(answer)
        return web.Response(status=changed.status, body=changed.body, headers=changed.headers)

    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{tail:.*}", handle)
        async with TestServer(app) as server:
            yield str(server.make_url("/v1"))
