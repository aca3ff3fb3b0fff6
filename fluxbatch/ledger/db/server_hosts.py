"""The hosts of a PostgreSQL URL: how long each is waited for, and what is said of their silence.

Owns that all of them together take no longer than one: the driver tries one address after the
other, each for the whole of its limit. Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_ALL_S = 10
"""For all addresses together, where there are not more of them than fit in."""
_LEAST_S = 2
"""The driver waits no shorter for any."""
_PORT = "5432"
_SILENCE = "connection timeout expired"
_ONE_OF_SEVERAL = "- host: "


def seconds_per_address(parts: Mapping[str, str]) -> int:
    """How long the driver may wait for each address of the URL with these *parts*."""
    count = sum(_addresses(host, port) for host, port in _places(parts))
    if parts.get("target_session_attrs") == "prefer-standby":
        count *= 2  # each is asked whether it is one, then once more
    shortest = max(_LEAST_S, _ALL_S // count)
    asked = int(parts.get("connect_timeout") or 0)
    return min(asked, shortest) if asked else shortest


def is_all_silence(words: str) -> bool:
    """Whether the driver's *words* tell of no failure but that nobody answered."""
    told = [line for line in words.splitlines() if line.startswith(_ONE_OF_SEVERAL)]
    return all(line.endswith(_SILENCE) for line in told or words.splitlines())


def silence(parts: Mapping[str, str], waited_s: float) -> str:
    """What people are told where nobody answered for so long."""
    places = " and ".join(
        repr(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        for host, port in _places(parts)
    )
    return (
        f"no answer from {places} within {waited_s:.0f} s; see that the address is right, that the"
        " server is up, and that no firewall is in between"
    )


def _places(parts: Mapping[str, str]) -> list[tuple[str, str]]:
    named = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
    hosts = named.split(",")
    ports = (parts.get("port") or os.environ.get("PGPORT") or _PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [(host, port or _PORT) for host, port in zip(hosts, ports, strict=False)]


def _addresses(host: str, port: str) -> int:
    """How many the driver tries for this host."""
    if not host or host.startswith("/"):
        return 1
    try:
        return len(socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)) or 1
    except (OSError, UnicodeError, ValueError):
        return 1  # the driver says why
