"""Where a download may go: the public internet, and nothing behind our own door.

Output URLs and redirects are a stranger's words; following one to a private
address would fetch, and store, what only this machine can see. Owns that decision, for
addresses in URLs and for addresses that names resolve to (the very ones connected to,
so a name cannot change its mind in between).
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from fluxbatch.internet import is_private_literal, is_public


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
