"""The bounds on connections to the webhook listener: how many, and how long without a request.

Owns the deadlines that aiohttp's server has not: for the head of a request to come whole, and
for the next one to begin. At most so many are open; one more takes the place of the one that has
waited longest, so that whoever only holds connections pushes out nobody but himself. What a
request is worth is not its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aiohttp import web


class ConnectionBounds(NamedTuple):
    """What connections may cost."""

    most: int = 256
    head_s: float = 10.0
    idle_s: float = 75.0
    """Longer than reverse proxies keep a connection, so that they are the ones to close it."""


_Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """aiohttp's server with bounds on its connections; *options* are its own."""

    def __init__(
        self,
        answer: _Answer,
        *,
        bounds: ConnectionBounds,
        **options: Any,
    ) -> None:
        super().__init__(self._answered, **options)
        self._answer = answer
        self._options = options
        self.bounds = bounds
        self._waiting: dict[BoundedConnection, None] = {}
        """Without a request, the one that has been so for longest first."""
        self._open: set[BoundedConnection] = set()

    def __call__(self) -> BoundedConnection:
        return BoundedConnection(self, loop=asyncio.get_running_loop(), **self._options)

    def begun(self, connection: BoundedConnection) -> None:
        """One more is open."""
        if len(self._open) >= self.bounds.most:
            (next(iter(self._waiting)) if self._waiting else connection).abort()
        self._open.add(connection)
        self.waits(connection, self.bounds.head_s)

    def waits(self, connection: BoundedConnection, most_s: float) -> None:
        """It has no request, and has so long for the next one."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        connection.close_in(most_s)

    def gone(self, connection: BoundedConnection) -> None:
        """It is closed."""
        self._waiting.pop(connection, None)
        self._open.discard(connection)

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._busy(request.protocol):
            return await self._answer(request)

    @contextmanager
    def _busy(self, connection: web.RequestHandler) -> Iterator[None]:
        if not isinstance(connection, BoundedConnection):
            yield
            return
        self._waiting.pop(connection, None)
        connection.close_in(None)
        try:
            yield
        finally:
            if connection in self._open:
                self.waits(connection, self.bounds.idle_s)


class BoundedConnection(web.RequestHandler):
    """One connection, closed without a word when its time is over."""

    def __init__(self, server: BoundedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._clock = options["loop"]
        self._timer: asyncio.TimerHandle | None = None
        self._is_idle = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.begun(self)

    def data_received(self, data: bytes) -> None:
        if self._is_idle:  # the next request begins, and has as long as the first
            self._server.waits(self, self._server.bounds.head_s)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.close_in(None)
        self._server.gone(self)
        super().connection_lost(exc)

    def close_in(self, seconds: float | None) -> None:
        """Close it then; None: not at all."""
        if self._timer is not None:
            self._timer.cancel()
        self._is_idle = seconds == self._server.bounds.idle_s
        self._timer = None if seconds is None else self._clock.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close it now."""
        self._server.gone(self)
        self.close_in(None)
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
