"""Connections that lead to the public internet only, for addresses that a stranger names.

Owns the last look: at what a name resolves to, and at the very address a socket is about to be
connected to, so that neither a spelling nor a name that changes its mind gets past it. A proxy of
the user's own, or a host the user named, may be anywhere. Whether a URL is to be visited at all is
for whoever visits it.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from fluxbatch.infra.ssrf_guard import Forbidden, is_public, literal_address, refuse_private

_PORTS = {"http": 80, "https": 443}
_AddrInfo = tuple[int, int, int, str, tuple[object, ...]]


class PublicConnections:
    """Judges every connection of one pool."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        """*inner* resolves; None: the system."""
        self._inner = inner
        self._trusted: set[tuple[str, int]] = set()
        self._trusted_places: set[tuple[str, int]] = set()

    def trust(self, url: str) -> None:
        """Let the host of *url* be anywhere: the user's own word."""
        host, port = _host_and_port(url)
        self._trusted.add((host, port))
        if (address := literal_address(host)) is not None:
            self._trusted_places.add((str(address), port))

    def refuse(self, url: str) -> None:
        """Raise `Forbidden` for a *url* whose host, as it stands there, is not public; what a name
        stands for is looked at when it is connected to."""
        host, port = _host_and_port(url)
        if (host, port) not in self._trusted:
            refuse_private(host)

    def connector(self, *, limit: int, keepalive_s: float = 15.0) -> aiohttp.TCPConnector:
        """A connection pool that goes nowhere else; made on the running loop."""
        resolver = PublicResolver(self._inner or ThreadedResolver(), self)
        return aiohttp.TCPConnector(
            limit=limit,
            keepalive_timeout=keepalive_s,
            resolver=resolver,
            socket_factory=self._socket,
        )

    def judged(self, host: str, port: int, places: Collection[str]) -> None:
        """Raise `Forbidden` unless *host*, which stands for *places*, may be connected to."""
        if (host, port) in self._trusted:
            self._trusted_places.update((_plain(place), port) for place in places)
        else:
            for place in places:
                self._judge(place, port)

    def _judge(self, place: str, port: int) -> None:
        plain = _plain(place)
        if (plain, port) not in self._trusted_places and not is_public(ip_address(plain)):
            raise Forbidden("it leads to a private address")

    def _socket(self, info: _AddrInfo) -> socket.socket:
        family, kind, protocol, _, place = info
        self._judge(str(place[0]), int(str(place[1])))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that stand for a private address."""

    def __init__(self, inner: AbstractResolver, connections: PublicConnections) -> None:
        self._inner = inner
        self._connections = connections

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._connections.judged(host, port, [entry["host"] for entry in found])
        return found

    async def close(self) -> None:
        await self._inner.close()


def verbatim_url(url: str) -> URL:
    """*url* as given: normalising the escapes of a signed one would break its signature."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


def _plain(place: str) -> str:
    """An address as it is compared: without its zone."""
    return str(ip_address(place.partition("%")[0]))
