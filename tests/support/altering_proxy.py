"""A proxy before the emulator that changes one thing of what the provider says.

`python -m tests.support.altering_proxy MODE BASE_URL` prints the base URL to use instead, and
serves until it is ended. Modes: `aws-chunked`, `gzip`, `utf-8`, `empty` (the encoding that a
download claims), `url-space` (an output's URL has a blank), `retry-epoch`, `retry-far-date` (the
first two creates are refused with an odd `Retry-After`).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

_CLAIMED = {"aws-chunked": "aws-chunked", "utf-8": "utf-8", "empty": "", "gzip": "gzip"}
_OWN = {"host", "accept-encoding", "connection", "content-length"}
_REFUSED = 2


class AlteringProxy:
    """One mode of it."""

    def __init__(self, mode: str, upstream: str, session: ClientSession) -> None:
        self.here = ""
        self._mode = mode
        self._upstream = upstream
        self._session = session
        self._creates = 0

    async def handle(self, request: web.Request) -> web.Response:
        path = request.raw_path
        is_file = request.method == "GET" and not path.startswith("/v1")
        if request.method == "POST" and path.rstrip("/").endswith("/prediction"):
            self._creates += 1
            if self._creates <= _REFUSED and (told := self._retry_after()) is not None:
                body = {"status": "error", "message": "rate limit"}
                return web.json_response(body, status=429, headers={"Retry-After": told})
        headers = {name: said for name, said in request.headers.items() if name.lower() not in _OWN}
        target = URL(self._upstream + (path.split("?sig=")[0] if is_file else path), encoded=True)
        async with self._session.request(
            request.method, target, data=await request.read(), headers=headers,
            allow_redirects=False,
        ) as got:  # fmt: skip
            status, kind, body_bytes = got.status, got.content_type, await got.read()
        extra = {}
        if not is_file:
            body_bytes = self._altered(body_bytes)
        elif self._mode in _CLAIMED:
            extra["Content-Encoding"] = _CLAIMED[self._mode]
            body_bytes = gzip.compress(body_bytes) if self._mode == "gzip" else body_bytes
        return web.Response(status=status, body=body_bytes, headers={**extra, "Content-Type": kind})

    def _retry_after(self) -> str | None:
        if self._mode == "retry-epoch":
            return str(int(time.time()) + 5)
        return "Fri, 01 Jan 2055 00:00:00 GMT" if self._mode == "retry-far-date" else None

    def _altered(self, body: bytes) -> bytes:
        try:
            said: Any = json.loads(body.decode().replace(self._upstream, self.here))
        except ValueError:
            return body
        if self._mode == "url-space" and isinstance(said, dict) and said.get("output"):
            output = said["output"]
            urls = output if isinstance(output, list) else [output]
            spaced = [f"{url}?sig=a b" for url in urls]
            said["output"] = spaced if isinstance(output, list) else spaced[0]
        return json.dumps(said).encode()


async def _serve(mode: str, base_url: str) -> None:
    upstream = base_url.removesuffix("/v1")
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:
        proxy = AlteringProxy(mode, upstream, session)
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{tail:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.here = f"http://{host}:{port}"
        print(f"{proxy.here}/v1", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
