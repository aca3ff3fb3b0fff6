"""The transport of one HTTP request, and the only two ways it can fail.

Owns the line between "no byte left" and "it may have arrived": everything that is
safe about creates rests on it. aiohttp's own errors stop here; nothing above may
know them. A simulation implements `Transport` and runs the whole client without sockets.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import aiohttp
from aiohttp import ClientHandlerType
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from fluxbatch._version import __version__
from fluxbatch.config.endpoints import Provider
from fluxbatch.config.proxies import ProxyFor, environment_proxies
from fluxbatch.errors import NotSent
from fluxbatch.infra.connections import PublicConnections, verbatim_url
from fluxbatch.infra.encodings import readings
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.redaction import sanitize
from fluxbatch.infra.ssrf_guard import refuse_private
from fluxbatch.provider.json_fields import plausible

BeforeSend = Callable[[], None]
"""Called at the last moment before a request is written; raises `NotSent` to hold it back."""


_MAX_ANSWER_BYTES = 10_000_000
_CONNECT_S = 10.0
_LARGE_BYTES = 2**19
_JSON_BEGINS = (b"{", b"[")


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
    is_strangers: bool = field(default=False, repr=False)
    """Its address is the provider's word and not the user's: it may lead to the public internet
    only, unless the provider itself is on this machine."""


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


class ToStrangers(NamedTuple):
    """For addresses that the provider names."""

    session: aiohttp.ClientSession
    public: PublicConnections


class AiohttpTransport:
    """Borrows its session, made by `open_http_session`: whoever opened it closes it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float,
        proxy_for: ProxyFor,
        strangers: ToStrangers | None = None,
    ) -> None:
        """*strangers* None: the provider's word may lead anywhere, as its own address does."""
        self._session = session
        self._strangers = strangers
        self._timeout_s = timeout_s
        self._proxy_for = proxy_for

    async def send(self, request: HttpRequest) -> HttpResponse:
        trip = _Trip(request.before_send)
        total_s = self._timeout_s if request.timeout_s is None else request.timeout_s
        failure = ""
        try:
            target, proxy = verbatim_url(request.url), self._proxy_for(request.url)
            async with self._session_for(request, target, proxy).request(
                request.method,
                target,
                params=request.query or None,
                headers=request.headers,
                data=_payload(request.body),
                allow_redirects=False,
                proxy=proxy,
                timeout=_client_timeout(total_s),
                middlewares=(trip.middleware,),
            ) as response:
                trip.status = response.status
                body = _as_json(await _capped_body(response))
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

    def _session_for(
        self, request: HttpRequest, target: URL, proxy: str | None
    ) -> aiohttp.ClientSession:
        """The session that may go there; raises `Forbidden` where none may."""
        strangers = self._strangers
        if strangers is None or not request.is_strangers:
            return self._session
        refuse_private(target.host or "")
        if proxy is not None:
            strangers.public.trust(proxy)
        return strangers.session


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


def _as_json(body: bytes) -> bytes:
    """*body*, unpacked where only that begins like JSON: what `Content-Encoding` says is not
    always so, and an answer to a create that cannot be read is one whose id is not known."""
    if body[:1] and body.lstrip()[:1] not in _JSON_BEGINS:
        for reading in readings(body, _MAX_ANSWER_BYTES):
            if reading.lstrip()[:1] in _JSON_BEGINS:
                return reading
    return body


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body is written in pieces, which let other tasks have their turn."""
    return io.BytesIO(body) if body is not None and len(body) >= _LARGE_BYTES else body


@lru_cache(maxsize=16)
def _client_timeout(total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, connect=min(_CONNECT_S, total_s))


@lru_cache(maxsize=64)
def http_date(text: str) -> datetime | None:
    """The moment an HTTP date names, in UTC; None if it names none."""
    try:
        return plausible(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_CONNECTIONS = 512


_IDLE_S = 15.0  # well below what gateways allow, so that they seldom close what we are about to use


_DNS_CACHE_S = 60


_MAX_HEADERS = 2_000


_MAX_HEADER_BYTES = 1_000_000
"""aiohttp's own 8,190 would make an unknown create of one with a long header in its answer."""


@asynccontextmanager
async def open_transport(settings: Provider) -> AsyncIterator[AiohttpTransport]:
    """The transport of real runs; raises `ConfigError` for a proxy that cannot be used."""
    proxy_for = environment_proxies()
    if not is_loopback(settings.base_url):
        # Outputs come from anywhere: what is paid must not wait behind a proxy that cannot be used.
        for url in (settings.base_url, "https://output.invalid", "http://output.invalid"):
            proxy_for(url)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_http_session())
        strangers = None
        if not is_loopback(settings.base_url):
            public = PublicConnections()
            guarded = await stack.enter_async_context(open_http_session(public))
            strangers = ToStrangers(guarded, public)
        yield AiohttpTransport(
            session, timeout_s=settings.timeout, proxy_for=proxy_for, strangers=strangers
        )


@asynccontextmanager
async def open_http_session(
    public: PublicConnections | None = None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for hundreds of predictions in flight that asks before it writes; with *public*
    one that goes only where it may.

    It does not trust the environment: that would read `.netrc` and the proxies anew, in a
    thread each, for every request, and add `.netrc`'s passwords to presigned requests.
    """
    connector = (
        aiohttp.TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=_IDLE_S, ttl_dns_cache=_DNS_CACHE_S
        )
        if public is None
        else public.connector(limit=_CONNECTIONS, keepalive_s=_IDLE_S)
    )
    async with aiohttp.ClientSession(
        connector=connector,
        request_class=LeavingRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # `transport` reads a body that is not what its header says
        headers={"User-Agent": f"fluxbatch/{__version__}"},
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
    ) as session:
        yield session
