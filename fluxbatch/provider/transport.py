"""The transport of one HTTP request, and the only two ways it can fail.

Owns the line between "no byte left" and "it may have arrived": everything that is
safe about creates rests on it. aiohttp's own errors stop here; nothing above may
know them. A simulation implements `Transport` and runs the whole client without sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp
from aiohttp import ClientHandlerType
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from fluxbatch._version import __version__
from fluxbatch.config.endpoints import Provider
from fluxbatch.errors import NotSent
from fluxbatch.infra.proxies import ProxyFor, environment_proxies
from fluxbatch.infra.redaction import sanitize

BeforeSend = Callable[[], None]
"""Called at the last moment before a request is written; raises `NotSent` to hold it back."""


_MAX_ANSWER_BYTES = 10_000_000
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent. Only the method is printed: all else may carry secrets."""

    method: str
    url: str = field(repr=False)
    """Absolute."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    before_send: BeforeSend | None = field(default=None, repr=False)
    timeout_s: float | None = None
    """None: the transport's own."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)

    @property
    def date(self) -> datetime | None:
        """When the provider's clock says it answered."""
        return http_date(self.headers.get("date", ""))


class ConnectionLost(Exception):
    """Sent, and no complete answer: reset, timeout, a body cut short or far too long.

    `status` is known when the answer broke off after its first line.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Transport(Protocol):
    """Sends one request once."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises `NotSent` when certainly no byte left, `ConnectionLost` when no answer came."""
        ...


class LeavingRequest(aiohttp.ClientRequest):
    """Asks once more, when the connection stands, whether it may still be written.

    `post` may have spent seconds on connecting. `send` only buffers the head of a request that
    has a body and leaves the writing to a task, one turn of the loop later (on Python 3.11), so
    the question is asked in that task: nothing can come between the answer and the write.
    """

    before_send: BeforeSend | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if not self.body:
            self._ask(conn)
        return await super().send(conn)

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        try:
            self._ask(conn)
        except Exception as exc:  # noqa: BLE001  whatever the caller's check raises
            # Nobody awaits this task: the reader of the answer gets the error instead.
            if conn.protocol is not None:
                conn.protocol.set_exception(exc)
            return
        await super().write_bytes(writer, conn, content_length)

    def _ask(self, conn: Connection) -> None:
        transport = conn.transport
        if transport is None or transport.is_closing():
            # A pooled connection that the server closed a moment ago; provably nothing was sent.
            raise NotSent("the connection was closed before the request was written")
        if self.before_send is not None:
            self.before_send()


class AiohttpTransport:
    """Borrows its session, made by `open_http_session`: whoever opened it closes it."""

    def __init__(
        self, session: aiohttp.ClientSession, *, timeout_s: float, proxy_for: ProxyFor
    ) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._proxy_for = proxy_for

    async def send(self, request: HttpRequest) -> HttpResponse:
        trip = _Trip(request.before_send)
        total_s = self._timeout_s if request.timeout_s is None else request.timeout_s
        failure = ""
        try:
            async with self._session.request(
                request.method,
                _verbatim(request.url),
                params=request.query or None,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                proxy=self._proxy_for(request.url),
                timeout=aiohttp.ClientTimeout(total=total_s, connect=min(_CONNECT_S, total_s)),
                middlewares=(trip.middleware,),
            ) as response:
                trip.status = response.status
                body = await _capped_body(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, headers, body)
        except TimeoutError:
            failure = f"no answer within {total_s:g} s" if trip.left else "connecting timed out"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            failure = sanitize(f"{type(exc).__name__}: {exc}")
        # Raised out here so that no aiohttp error, whose request carries the key, is its context.
        if trip.left:
            raise ConnectionLost(failure, status=trip.status)
        raise NotSent(failure)


class _Trip:
    """How far one request got."""

    def __init__(self, before_send: BeforeSend | None) -> None:
        self._before_send = before_send
        self.left = False
        self.status: int | None = None

    async def middleware(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if not isinstance(request, LeavingRequest):
            raise TypeError("the session was not opened by `open_http_session`")
        request.before_send = self._leave
        return await handler(request)

    def _leave(self) -> None:
        if self._before_send is not None:
            self._before_send()
        self.left = True


async def _capped_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer exceeds {_MAX_ANSWER_BYTES:,} bytes")
    return bytes(body)


def _verbatim(url: str) -> URL:
    """The URL as given: normalising the escapes of a presigned one would break its signature."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def http_date(text: str) -> datetime | None:
    """The moment an HTTP date names, in UTC; None if it names none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


_CONNECTIONS = 512


_IDLE_S = 15.0  # well below what gateways allow, so that they seldom close what we are about to use


_DNS_CACHE_S = 60


@asynccontextmanager
async def open_transport(settings: Provider) -> AsyncIterator[AiohttpTransport]:
    """The transport of real runs."""
    async with open_http_session() as session:
        yield AiohttpTransport(session, timeout_s=settings.timeout, proxy_for=environment_proxies())


@asynccontextmanager
async def open_http_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for hundreds of predictions in flight that asks before it writes.

    It does not trust the environment: that would read `.netrc` and the proxies anew, in a
    thread each, for every request, and add `.netrc`'s passwords to presigned requests.
    """
    connector = aiohttp.TCPConnector(
        limit=_CONNECTIONS, keepalive_timeout=_IDLE_S, ttl_dns_cache=_DNS_CACHE_S
    )
    async with aiohttp.ClientSession(
        connector=connector,
        request_class=LeavingRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"fluxbatch/{__version__}"},
    ) as session:
        yield session
