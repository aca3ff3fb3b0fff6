"""The gate of the live page: who may read it, and who may change a rating.

Owns the checks of Host, Origin and token, and the headers of every answer. On a loopback address a
page of another site could still send requests (or have its name point here), so Host must be ours
and a change must come from our own page, with the token that only it was given. Elsewhere nothing
is answered without the token. Source: docs/guide/live-page.md.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_COOKIE = "fluxbatch_live"
QUERY = "open"
"""Under a name such as `token`, the console would hide it with the secrets."""
TOKEN_HEADER = "X-Fluxbatch-Token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback_host(host: str) -> bool:
    """Whether *host* (a name or an address, no port) is this machine for itself alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def openable_host(host: str) -> str:
    """What a browser can open where *host* is all addresses of this machine: its name, if that
    leads here, or else its address for itself. Asks the resolver, so it may block."""
    try:
        address = ipaddress.ip_address(host or "0.0.0.0")
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    family, itself = (
        (socket.AF_INET, "127.0.0.1") if address.version == 4 else (socket.AF_INET6, "::1")
    )
    name = socket.gethostname()
    return name if _leads_here(name, family) else itself


def _leads_here(name: str, family: socket.AddressFamily) -> bool:
    """Whether all that the name stands for is ours: only then can it be bound to."""
    try:
        for _, kind, protocol, _, place in socket.getaddrinfo(name, 0, family, socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as tried:
                tried.bind(place)
    except (OSError, UnicodeError):
        return False
    return True


def cookie_of(request: web.Request) -> str:
    """The cookie's name for the address that was asked: browsers keep one jar for all ports of a
    host, and the port is the one that the browser sees, with a tunnel or a proxy between."""
    _, _, port = request.host.rpartition(":")
    return f"{_COOKIE}_{port}" if port.isascii() and port.isdecimal() else _COOKIE


class AccessGate:
    """Decides on each request, before anything is read."""

    def __init__(self, host: str, token: str, *, is_guarded: bool = False) -> None:
        """*is_guarded*: take the token on a loopback address too, where others may log in."""
        self._is_here = is_loopback_host(host)
        self._is_open = self._is_here and not is_guarded
        self.token = token

    @property
    def needs_token(self) -> bool:
        """Whether even looking takes the token."""
        return not self._is_open

    def refusal(self, request: web.Request) -> str | None:
        """Why *request* is not answered (403); None: it is."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if self._is_here and not is_loopback_host(name):
            return "this page is for this machine alone: open it by 127.0.0.1"
        if not self._is_open and not self._bears_token(request):
            return "open the address that `fluxbatch serve` prints now, token included"
        if request.method in ("GET", "HEAD"):
            return None
        if request.headers.get("Origin") != f"{request.scheme}://{request.host}":
            return "a change comes from the page itself, not from another site"
        if not self._same(request.headers.get(TOKEN_HEADER, "")):
            return "the page is of an earlier `fluxbatch serve`; load it again"
        return None

    def _bears_token(self, request: web.Request) -> bool:
        """Either may be an old one: a browser keeps a cookie longer than a server lives."""
        cookie, query = request.cookies.get(cookie_of(request)), request.query.get(QUERY)
        return self._same(cookie or "") or self._same(query or "")

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    @property
    def middleware(self) -> Middleware:
        """What stands before every handler."""

        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            if (why := self.refusal(request)) is not None:
                return web.Response(status=403, text=f"{why}\n")
            return await handler(request)

        return checked


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Have every answer say what a browser may do with it."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
