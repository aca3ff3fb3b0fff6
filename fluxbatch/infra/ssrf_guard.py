"""The SSRF guard: downloads go to the public internet, never to a private address.

Output URLs and redirects come from other programs; following one to a private
address would fetch, and store, what only this machine can see. Owns that decision, for
addresses in URLs and for addresses that names resolve to (the very ones connected to,
so a name cannot change its address in between).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult


class Forbidden(OSError):
    """A download may not go there. An `OSError`, as resolvers raise nothing else."""


def check_url(url: str, *, allow_http: bool) -> None:
    """Raise `Forbidden` unless *url* is a public https address.

    *allow_http* is for a provider on this machine: anything goes then.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise Forbidden("it is no address") from None
    if parts.scheme not in ({"https", "http"} if allow_http else {"https"}):
        raise Forbidden(f"its scheme is {parts.scheme[:20]!r}, not https")
    if not host:
        raise Forbidden("it names no host")
    if allow_http:
        return
    if host == "localhost" or host.endswith(".localhost"):
        raise Forbidden("it leads to this machine")
    if is_private_literal(host):  # at what a name stands for `GuardedResolver` looks
        raise Forbidden("it leads to a private address")


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those that stand for a private address."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner
        self._trusted: set[str] = set()

    def trust(self, host: str) -> None:
        """Let *host* be anywhere: the user's own proxy."""
        self._trusted.add(host)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._trusted:
            return found
        if not all(is_public(ip_address(entry["host"].partition("%")[0])) for entry in found):
            raise Forbidden("it leads to a private address")
        return found

    async def close(self) -> None:
        await self._inner.close()


_NAT64 = IPv6Network("64:ff9b::/96")


def is_private_literal(host: str) -> bool:
    """Whether *host* is an address written as numbers, its zone aside, that is not public.

    A name is none: whoever connects looks at what it stands for.
    """
    try:
        return not is_public(ip_address(host.partition("%")[0]))
    except ValueError:
        return False


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether *address*, and the IPv4 address it may carry, is on the public internet."""
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is None and address in _NAT64:
            carried = IPv4Address(int(address) & 0xFFFF_FFFF)
        if carried is not None:
            return is_public(carried)
    return address.is_global and not address.is_multicast
