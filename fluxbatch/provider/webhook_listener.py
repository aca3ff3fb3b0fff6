"""The socket behind `webhook.listen`: untrusted requests, cut short and answered at once.

Owns what a connection may cost: bytes, seconds, and no line in any log, for paths are
secrets. `webhook_urls` decides which request is accepted. Imported only where webhooks are
wanted: aiohttp's server side takes a while.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from fluxbatch.provider.webhook_urls import MAX_WEBHOOK_BYTES, SECRET_HEADER, WebhookReceiver

_BODY_S = 5.0
_IDLE_S = 75.0
"""Longer than reverse proxies keep a connection, so that they are the ones to close it."""
_LINGER_S = 1.0
_SHUTDOWN_S = 0.5
_BACKLOG = 512

_SILENT = logging.Logger("fluxbatch.listener", logging.CRITICAL + 1)


@asynccontextmanager
async def listening(receiver: WebhookReceiver, host: str, port: int) -> AsyncIterator[int]:
    """Serve *receiver*; gives the port, which port 0 leaves to the system.

    Raises `OSError` where nobody may listen there.
    """
    server = web.Server(
        _Answering(receiver).answer,
        access_log=None,
        logger=_SILENT,
        keepalive_timeout=_IDLE_S,
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
        with anyio.CancelScope(shield=True):
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
