"""The reader of plain http URLs that a manifest names.

Owns where that may lead: to public addresses only, at once and by redirects, for a manifest may be
a stranger's and what it names is sent on to the provider. Names are looked at where they are
connected to, so that none can change its mind in between. Sends no key and no cookie.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    HTTPSConnection,
    responses,
)
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    getproxies,
    proxy_bypass,
)

from fluxbatch.infra.ssrf_guard import Forbidden, refuse_private
from fluxbatch.manifest.control_images.errors import CONTROL_BLOCK_BYTES, Unreadable

_SILENCE_S = 20.0
_MOST_S = 180.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer whose body has not been read yet."""

    version: str
    """What distinguishes this content from others at the address; empty if the server is silent."""
    size: int | None
    _answer: HTTPResponse

    def blocks(self) -> Iterator[bytes]:
        """The whole body; raises `Unreadable` where it is cut short, or crawls."""
        until_s, got = time.monotonic() + _MOST_S, 0
        try:
            while block := self._answer.read1(CONTROL_BLOCK_BYTES):
                got += len(block)
                yield block
                if time.monotonic() > until_s:
                    raise Unreadable(f"it took longer than {_MOST_S:g} s", is_its_own=True)
        except (OSError, HTTPException) as exc:
            raise Unreadable(f"its server broke off: {exc}", is_its_own=True) from None
        if self.size is not None and got != self.size:
            raise Unreadable(f"only {got} of its {self.size} bytes came", is_its_own=True)


@contextmanager
def opened(url: str, *, anywhere: bool) -> Iterator[Page]:
    """Ask for *url*; *anywhere*: it may be, or lead to, a private address too.

    Raises `Unreadable`.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        netloc = f"[{host}]" if ":" in host else host
        netloc += f":{parts.port}" if parts.port else ""
        path, query = (quote(text, safe="/%:@!$&'()*+,;=~?") for text in (parts.path, parts.query))
        plain = parts._replace(netloc=netloc, path=path or "/", query=query, fragment="")
        request = Request(plain.geturl(), headers={"Accept-Encoding": "identity"})
        if not anywhere:
            refuse_private(host)
        answer = _opener(anywhere).open(request, timeout=_SILENCE_S)
    except HTTPError as exc:
        exc.close()
        status = f"{exc.code} {responses.get(exc.code, '')}".strip()
        raise Unreadable(f"its server answers {status}", is_its_own=True) from None
    except (OSError, HTTPException, ValueError) as exc:
        reason = exc.reason if isinstance(exc, URLError) else exc
        is_its_own = isinstance(reason, Forbidden | ValueError)
        raise Unreadable(f"{reason}", is_its_own=is_its_own) from None
    with answer:
        length = answer.headers.get("Content-Length", "")
        marks = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
        version = "\n".join([*marks, length]) if any(marks) else ""
        yield Page(version, int(length) if length.isdecimal() else None, answer)


def _opener(anywhere: bool) -> OpenerDirector:
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        _Http(anywhere),
        _Https(anywhere),
        _Redirects(anywhere),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(HTTPRedirectHandler):
    """Looks at every step; behind a proxy only at addresses written as numbers."""

    def __init__(self, anywhere: bool) -> None:
        self._anywhere = anywhere

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        try:
            parts = urlsplit(newurl)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
                raise Forbidden("it leads to what is no http address")
            if not self._anywhere:
                refuse_private(parts.hostname)
        except (Forbidden, ValueError):
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(HTTPHandler):
    def __init__(self, anywhere: bool) -> None:
        super().__init__()
        self._anywhere = anywhere

    def http_open(self, req: Request) -> HTTPResponse:
        if self._anywhere or _is_proxied(req):
            return super().http_open(req)
        return self.do_open(_PublicHttp, req)


class _Https(HTTPSHandler):
    def __init__(self, anywhere: bool) -> None:
        super().__init__()
        self._anywhere = anywhere

    def https_open(self, req: Request) -> HTTPResponse:
        if self._anywhere or _is_proxied(req):
            return super().https_open(req)
        return self.do_open(_PublicHttps, req)


def _is_proxied(request: Request) -> bool:
    """Whether the request goes to the user's own proxy, which may be anywhere."""
    parts = urlsplit(request.full_url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")


class _PublicHttp(HTTPConnection):
    def connect(self) -> None:
        self.sock = _public_socket(self.host, self.port)


class _PublicHttps(HTTPSConnection):
    def connect(self) -> None:
        sock = _public_socket(self.host, self.port)
        self.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)


def _public_socket(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    places = [str(place[0]) for *_, place in found]
    for place in places:
        refuse_private(place)
    return socket.create_connection((places[0], port), _SILENCE_S)
