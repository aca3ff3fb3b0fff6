"""The one connection pool a process uses for the provider's API.

Owns its limits, its proxies and its life. Holds no key and no cookies: what
identifies us is written by the client, request by request.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from fluxbatch import __version__
from fluxbatch.addresses import Provider, is_loopback
from fluxbatch.provider.transport import AiohttpTransport, LeavingRequest, ProxyFor

_CONNECTIONS = 512
_IDLE_S = 15.0  # well below what gateways allow, so that they seldom close what we are about to use
_DNS_CACHE_S = 60


@asynccontextmanager
async def open_transport(settings: Provider) -> AsyncIterator[AiohttpTransport]:
    """The transport of real runs."""
    async with open_session() as session:
        yield AiohttpTransport(session, timeout_s=settings.timeout, proxy_for=environment_proxies())


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for hundreds of predictions in flight that asks before it writes.

    It is not told to trust the environment: that would read `.netrc` and the proxies anew, in a
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


def environment_proxies() -> ProxyFor:
    """The proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, read once.

    A loopback address is always reached directly.
    """
    proxies = urllib.request.getproxies()

    def proxy_for(url: str) -> str | None:
        if not proxies or is_loopback(url):
            return None
        parts = urlsplit(url)
        if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        return proxies.get(parts.scheme) or proxies.get("all")

    return proxy_for
