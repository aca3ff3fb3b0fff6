"""The thin HTTP layer: carries out what the core decided, and decides nothing.

Owns sockets, the wire's delays, the painting threads and the webhook POSTs. Every task lives
in the one task group that the application opens at its start and leaves at its end.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator

import aiohttp
import anyio
import anyio.to_thread
from aiohttp import web

from fluxbatch.emulator import router
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Call, Picture, Reply, WebhookPost
from fluxbatch.emulator.painter import Painter

_WEBHOOK_TIMEOUT_S = 30.0
_GONE_CHECK_S = 0.05
_DRIP_S = 0.2
_LINGER_NOTHING = struct.pack("ii", 1, 0)


def emulator_app(core: ProviderCore) -> web.Application:
    """The whole provider as an aiohttp application; serve it from one event loop."""
    service = _Service(core)
    app = web.Application(client_max_size=router.MAX_REQUEST_BYTES)
    app.router.add_route("*", "/{path:.*}", service.answer)
    app.cleanup_ctx.append(service.deliver_webhooks)
    app.on_shutdown.append(service.let_go)
    return app


class _Service:
    def __init__(self, core: ProviderCore) -> None:
        self._core = core
        self._painter = Painter()
        self._foreseen = anyio.Event()
        self._closing = anyio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        core = self._core
        if not core.origin:
            core.listen_at(str(request.url.origin()))
        call = Call(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        controls = call.path.startswith("/_emulator/")
        if not controls:
            await _pause(core.transit_s())
        reply = router.handle_call(core, call)
        if core.wakes_in() is not None:
            self._foreseen.set()
        if not controls:
            await _pause(reply.fate.delay_s + core.transit_s())
        return await self._carry_out(request, reply)

    async def let_go(self, _: web.Application) -> None:
        """End every held connection, or the shutdown would wait for them."""
        self._closing.set()

    async def deliver_webhooks(self, _: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=_WEBHOOK_TIMEOUT_S)
        # asyncio's group, not anyio's: whoever serves this application may start and stop
        # it inside different cancel scopes, and anyio's scopes would have to nest.
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(session), name="webhook-pump")
            yield
            pump.cancel()

    async def _pump(self, session: aiohttp.ClientSession) -> None:
        async with anyio.create_task_group() as posts:
            while True:
                for delivery in self._core.deliveries():
                    posts.start_soon(self._deliver, session, delivery)
                self._foreseen = anyio.Event()
                wakes_in = self._core.wakes_in()
                with anyio.move_on_after(wakes_in):
                    await self._foreseen.wait()

    async def _deliver(self, session: aiohttp.ClientSession, delivery: WebhookPost) -> None:
        await _pause(self._core.transit_s())
        try:
            async with session.post(
                delivery.url,
                json=delivery.body,
                headers=dict(delivery.headers),
                allow_redirects=False,
            ) as response:
                await response.read()
                self._core.delivered(delivery, response.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            self._core.delivered(delivery, None, repr(exc))
        self._foreseen.set()

    async def _carry_out(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        match reply.fate.ending:
            case "reset":
                return _reset(request)
            case "hold":
                await self._hold(request)
                return _reset(request)
            case "drip":
                return await self._drip(request, reply)
        content = await self._content(reply)
        if reply.fate.body_share < 1:
            return await _truncate(request, reply, content)
        return web.Response(
            status=reply.status,
            body=content,
            headers=dict(reply.headers),
            content_type=reply.content_type,
        )

    async def _content(self, reply: Reply) -> bytes:
        if isinstance(reply.body, Picture) and not self._painter.is_quick(reply.body):
            return await anyio.to_thread.run_sync(reply.payload, self._painter.paint)
        return reply.payload(self._painter.paint)

    async def _hold(self, request: web.Request) -> None:
        # aiohttp tells a handler that its client has gone only by taking the transport away.
        while request.transport is not None and not self._closing.is_set():
            with anyio.move_on_after(_GONE_CHECK_S):
                await self._closing.wait()

    async def _drip(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(headers=dict(reply.headers))
        response.content_type = reply.content_type
        await response.prepare(request)
        for byte in itertools.cycle(await self._content(reply)):
            if request.transport is None or self._closing.is_set():
                break
            await response.write(bytes([byte]))
            await anyio.sleep(_DRIP_S)
        return response


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await anyio.sleep(seconds)


async def _truncate(request: web.Request, reply: Reply, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers=dict(reply.headers))
    response.content_type = reply.content_type
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: int(len(content) * reply.fate.body_share)])
    if request.transport is not None:
        request.transport.close()
    return response


def _reset(request: web.Request) -> web.Response:
    """Kill the connection the hard way (RST); the response returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        transport.abort()
    return web.Response()
