"""Which IP addresses are on the public internet, and which lie behind our own door.

Owns that answer for whatever follows a stranger's words: redirects, and URLs of outputs.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

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
