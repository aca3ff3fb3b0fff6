"""The proxies that the environment names, for every request that leaves this machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from fluxbatch.infra.loopback import is_loopback

ProxyFor = Callable[[str], str | None]
"""The proxy to reach a URL by; None: directly."""


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
