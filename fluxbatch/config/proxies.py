"""The proxies that the environment names, for every request that leaves this machine."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from fluxbatch.errors import ConfigError
from fluxbatch.infra.loopback import is_loopback

ProxyFor = Callable[[str], str | None]
"""The proxy to reach a URL by; None: directly."""


class UnusableProxy(ConfigError, ValueError):
    """A variable of the environment names no proxy that can be used."""


def environment_proxies() -> ProxyFor:
    """The proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, read once.

    A loopback address is always reached directly. What it answers raises `UnusableProxy` naming the
    variable where a URL's proxy is none that can be used.
    """
    proxies = urllib.request.getproxies()

    def proxy_for(url: str) -> str | None:
        if not proxies or is_loopback(url):
            return None
        parts = urlsplit(url)
        if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        kind = parts.scheme if proxies.get(parts.scheme) else "all"
        proxy = proxies.get(kind)
        return _usable(proxy, kind) if proxy else None

    return proxy_for


def _usable(proxy: str, kind: str) -> str:
    """*proxy* as a URL: without a scheme it is plain http, as with other programs.

    Never quoted: it may carry a password.
    """
    name = next((one for one in os.environ if one.lower() == f"{kind}_proxy"), f"{kind}_proxy")
    url = proxy if "://" in proxy else f"http://{proxy}"
    scheme = url.partition("://")[0].lower()
    if scheme not in {"http", "https"}:
        raise UnusableProxy(f"{name}: {scheme[:20]} proxies are not supported; name an http proxy")
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UnusableProxy(f"{name} is no address of a proxy; write it like http://proxy:3128")
    return url
