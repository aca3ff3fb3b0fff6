"""The SSRF guard: downloads go to the public internet, never to a private address.

Output URLs and redirects are a stranger's words; following one to a private
address would fetch, and store, what only this machine can see. Owns that decision for
addresses in URLs; what names resolve to, and what is really connected to, `connections` judges.
"""

from __future__ import annotations

import socket
import unicodedata
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit


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
    if not allow_http:
        refuse_private(host)


_NAT64 = IPv6Network("64:ff9b::/96")


_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")


class Forbidden(OSError):
    """A stranger's words may not lead there. An `OSError`, as resolvers raise nothing else."""


def is_private_literal(host: str) -> bool:
    """Whether *host* is an address written as numbers, in any digits and any of the spellings
    that are connected to, that is not public; its zone does not count.

    A name is none: whoever connects looks at what it stands for.
    """
    address = literal_address(host)
    return address is not None and not is_public(address)


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that *host* writes as numbers; None for a name.

    `127.1`, `0x7f000001`, fullwidth or circled digits and ideographic dots all lead to one.
    """
    plain = unicodedata.normalize("NFKC", host.partition("%")[0]).translate(_DOTS).rstrip(".")
    try:
        return ip_address(plain.strip("[]"))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(plain)) if plain and plain[0].isdigit() else None
    except (OSError, ValueError):
        return None


def is_this_machine(host: str) -> bool:
    """Whether *host* is this machine by its common name, or by a number."""
    name = unicodedata.normalize("NFKC", host).translate(_DOTS).rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = literal_address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def refuse_private(host: str) -> None:
    """Raise `Forbidden` for a host that is, without any resolver, not on the public internet."""
    if is_this_machine(host):
        raise Forbidden("it leads to this machine")
    if is_private_literal(host):
        raise Forbidden("it leads to a private address")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether *address*, and the IPv4 address it may carry, is on the public internet."""
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is None and address in _NAT64:
            carried = IPv4Address(int(address) & 0xFFFF_FFFF)
        if carried is not None:
            return is_public(carried)
    return address.is_global and not address.is_multicast
