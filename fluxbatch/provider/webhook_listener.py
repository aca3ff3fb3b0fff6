"""The socket behind `webhook.listen`: untrusted requests, cut short and answered at once.

Owns what a request may cost: bytes, seconds, and no line in any log, for paths are secrets. How
many connections there may be is `listener_connections`' to say, which request is accepted
`webhook_urls`'. Imported only where webhooks are wanted: aiohttp's server side takes a while.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from aiohttp import web

from fluxbatch.provider.listener_connections import BoundedServer, ConnectionBounds
from fluxbatch.provider.webhook_urls import MAX_WEBHOOK_BYTES, SECRET_HEADER, WebhookReceiver

_BODY_S = 5.0
_LINGER_S = 1.0
_SHUTDOWN_S = 0.5
_CLEAN_UP_S = 5.0
_BACKLOG = 128
"""As many are taken at once, before any can be closed: descriptors are for the run."""

_SILENT = logging.Logger("fluxbatch.listener", logging.CRITICAL + 1)


@asynccontextmanager
async def listening(
    receiver: WebhookReceiver,
    host: str,
    port: int,
    bounds: ConnectionBounds = ConnectionBounds(),  # noqa: B008  frozen
) -> AsyncIterator[int]:
    """Serve *receiver*; gives the port, which port 0 leaves to the system.

    Raises `OSError` where nobody may listen there.
    """
    server = BoundedServer(
        _Answering(receiver).answer,
        access_log=None,
        logger=_SILENT,
        bounds=bounds,
        keepalive_timeout=bounds.idle_s,
        lingering_time=_LINGER_S,
        auto_decompress=False,  # nobody sends one compressed, but for a bomb
    )
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        # Whatever becomes of the connections, the run has its result.
        with anyio.move_on_after(_CLEAN_UP_S, shield=True), suppress(Exception):
            await runner.cleanup()


class _Answering:
    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        secret = request.headers.get(SECRET_HEADER, "")
        verdict = self._receiver.authorize(request.method, request.path, secret)
        if verdict.attempt is None:
            return _response(request, verdict.status, verdict.body)
        body = await _body(request)
        self._receiver.receive(verdict.attempt, body)
        return _response(request, 413 if body is None else verdict.status)


async def _body(request: web.BaseRequest) -> bytes | None:
    """The whole body; None for one that is too long, too slow or broken off."""
    if (request.content_length or 0) > MAX_WEBHOOK_BYTES:
        return None
    body = bytearray()
    with anyio.move_on_after(_BODY_S):
        try:
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MAX_WEBHOOK_BYTES:
                    return None
        except (web.RequestPayloadError, OSError):
            return None
        return bytes(body)
    return None


def _response(request: web.BaseRequest, status: int, body: bytes = b"") -> web.Response:
    response = web.Response(status=status, body=body, headers={"Server": "fluxbatch"})
    if status != 200 or not request.content.is_eof():
        response.force_close()  # what follows on such a connection is not worth reading
    return response
