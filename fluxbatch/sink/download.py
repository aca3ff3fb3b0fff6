"""The download of an output URL, block by block, from an untrusted server.

Owns everything that can go wrong on the wire: size, time, slow servers, redirects,
addresses it may not visit. Sends no key and no cookie. Whether the bytes are an image is
left to `verify`. A simulation implements `Fetcher`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

import aiohttp
import anyio

from fluxbatch._version import __version__
from fluxbatch.config.proxies import ProxyFor
from fluxbatch.config.settings import SinkSettings
from fluxbatch.infra.connections import PublicConnections, verbatim_url
from fluxbatch.infra.redaction import host_of, sanitize
from fluxbatch.infra.ssrf_guard import Forbidden, check_url, refuse_private

BLOCK_BYTES = 4 * 1024 * 1024
"""Handed on at once; an ordinary image is one block."""

OnBlock = Callable[[bytes], Awaitable[None]]
"""Receives the blocks in order; none is empty."""


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({401, 403, 404, 410})
_MAX_REDIRECTS = 5
_CONNECT_S = 10.0
_SILENCE_S = 30.0
_MAX_HEADERS = 2_000
_MAX_HEADER_BYTES = 1_000_000


class UrlExpired(Exception):
    """The URL is no longer good (401, 403, 404, 410): a fresh one is needed."""


class DownloadFailed(Exception):
    """No complete body came; another try may do better."""


class Cut(DownloadFailed):
    """The body ended before the length it was to have; the blocks before were handed on."""


class Misled(DownloadFailed):
    """The address leads nowhere that may be visited; another try at it does no better."""


class Fetcher(Protocol):
    """Downloads one URL."""

    async def fetch(self, url: str, take: OnBlock) -> None:
        """Hand the whole body to *take*.

        Raises `UrlExpired` or `DownloadFailed`, even after some blocks.
        """
        ...


@dataclass(frozen=True, slots=True)
class DownloadPace:
    """The slowest a download may be: so many bytes in each span, or it ends."""

    span_s: float = 15.0
    least_bytes: int = 32_768


@asynccontextmanager
async def open_fetcher(
    settings: SinkSettings,
    *,
    allow_http: bool = False,
    proxy_for: ProxyFor = lambda url: None,
    pace: DownloadPace = DownloadPace(),
) -> AsyncIterator[HttpFetcher]:
    """The fetcher of real runs, with a connection pool of its own.

    *allow_http* when the provider itself is on a loopback address. Behind a proxy only
    addresses written as numbers are checked here: names are the proxy's to resolve.
    """
    public = PublicConnections()
    connector = (
        aiohttp.TCPConnector(limit=settings.downloads)
        if allow_http
        else public.connector(limit=settings.downloads)
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"fluxbatch/{__version__}", "Accept-Encoding": "identity"},
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
    ) as session:
        yield HttpFetcher(session, settings, public, allow_http, proxy_for, pace)


class HttpFetcher:
    """Made by `open_fetcher`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: SinkSettings,
        public: PublicConnections,
        allow_http: bool,
        proxy_for: ProxyFor,
        pace: DownloadPace,
    ) -> None:
        self._session = session
        self._settings = settings
        self._public = public
        self._allow_http = allow_http
        self._proxy_for = proxy_for
        self._pace = pace

    async def fetch(self, url: str, take: OnBlock) -> None:
        try:
            with anyio.fail_after(self._settings.timeout):
                await self._follow(url, take)
        except TimeoutError:
            raise DownloadFailed(f"not finished within {self._settings.timeout:g} s") from None

    async def _follow(self, url: str, take: OnBlock) -> None:
        """Go where *url* and its redirects lead, looking at every step before taking it."""
        seen: set[str] = set()
        while True:
            if url in seen:
                raise DownloadFailed(f"a redirect loop at {host_of(url)}")
            if len(seen) > _MAX_REDIRECTS:
                raise DownloadFailed(f"more than {_MAX_REDIRECTS} redirects")
            seen.add(url)
            onward = await self._visit(url, take)
            if onward is None:
                return
            url = onward

    async def _visit(self, url: str, take: OnBlock) -> str | None:
        """Read the body at *url*, or return where it redirects to."""
        try:
            check_url(url, allow_http=self._allow_http)
            proxy = self._proxy_for(url)
            if proxy is not None:
                self._public.trust(proxy)
            target = verbatim_url(url)
            if not self._allow_http:  # as the client will read it, which may not be as we do
                refuse_private(target.host or "")
            async with self._session.get(target, allow_redirects=False, proxy=proxy) as got:
                if got.status in _REDIRECTS and "Location" in got.headers:
                    return urljoin(url, got.headers["Location"])
                self._check(got)
                await self._read(got, take)
                return None
        except TimeoutError:
            failure = f"no answer from {host_of(url)}"
        except aiohttp.ClientPayloadError as exc:
            raise Cut(f"from {host_of(url)}: {_cause(exc)}") from None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            failure = f"from {host_of(url)}: {_cause(exc)}"
            if isinstance(exc, ValueError) or isinstance(_inner(exc), Forbidden):
                raise Misled(failure) from None
        raise DownloadFailed(failure)

    def _check(self, got: aiohttp.ClientResponse) -> None:
        """Raise unless the body that follows may be the file.

        Any success may bring it, and whatever `Content-Encoding` says: the bytes are looked at.
        """
        if not 200 <= got.status < 300:
            failed = UrlExpired if got.status in _GONE else DownloadFailed
            raise failed(f"{host_of(str(got.url))} answered {got.status}")
        if (got.content_length or 0) > self._settings.max_bytes:
            raise DownloadFailed(f"{got.content_length:,} bytes{self._too_many()}")

    async def _read(self, got: aiohttp.ClientResponse, take: OnBlock) -> None:
        size, ended = 0, False
        block: list[bytes] = []
        held = 0
        while not ended:
            try:
                brought, ended = await self._span(got, block, BLOCK_BYTES - held)
            except aiohttp.ClientPayloadError:
                if block:
                    await take(b"".join(block))
                raise
            size += brought
            held += brought
            if size > self._settings.max_bytes:
                raise DownloadFailed(f"{size:,} bytes and more{self._too_many()}")
            if held >= BLOCK_BYTES or (ended and held):
                await take(b"".join(block))
                block.clear()
                held = 0
        if got.content_length is not None and size != got.content_length:
            raise Cut(f"{size:,} bytes came of {got.content_length:,}")

    async def _span(
        self, got: aiohttp.ClientResponse, block: list[bytes], room: int
    ) -> tuple[int, bool]:
        """Read for one span of the pace: how many bytes it brought, and whether the body ended.

        Ends early when *room* bytes came, so that time spent on the disk is nobody's delay.
        """
        if got.content.is_eof():  # all that is left has arrived: no time to measure
            if rest := await got.content.read():
                block.append(rest)
            return len(rest), True
        brought = 0
        with anyio.move_on_after(self._pace.span_s):
            while brought < room:
                chunk = await got.content.readany()
                if not chunk:
                    return brought, True
                block.append(chunk)
                brought += len(chunk)
            return brought, False
        if brought < self._pace.least_bytes:
            raise DownloadFailed(f"too slow: {brought:,} bytes in {self._pace.span_s:g} s")
        return brought, False

    def _too_many(self) -> str:
        return f", more than sink.max_bytes allows ({self._settings.max_bytes:,})"


def _inner(exc: Exception) -> Exception:
    return exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc


def _cause(exc: Exception) -> str:
    if isinstance(inner := _inner(exc), Forbidden):
        return str(inner)
    return sanitize(f"{type(exc).__name__}: {exc}")
