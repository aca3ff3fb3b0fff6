"""The options and names in a PostgreSQL URL: which there are, and what each may be.

Owns that no value which cannot be right reaches the driver, which would repeat it: it may be a
password that was put in the wrong place. Asks no server. Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from fluxbatch.errors import ConfigError

_OR_NOT = ("0", "1")
_TLS = ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_WANTED = ("disable", "prefer", "require")
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": _WANTED,
    "gssencmode": _WANTED,
    "gssdelegation": _OR_NOT,
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "sslcompression": _OR_NOT,
    "sslsni": _OR_NOT,
    "ssl_min_protocol_version": _TLS,
    "ssl_max_protocol_version": _TLS,
    "keepalives": _OR_NOT,
    "load_balance_hosts": ("disable", "random"),
    "target_session_attrs": (
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby",
    ),
}  # fmt: skip
_NUMBERS = frozenset(
    {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
     "tcp_user_timeout"}
)  # fmt: skip
_METHODS = re.compile(r"!?(?:password|md5|gss|sspi|scram-sha-256|oauth|none)")
_SETTING = re.compile(r"(?:-c\s*|--)?[A-Za-z_][\w.-]*=\S*")
_FREE = frozenset(
    {"application_name", "fallback_application_name", "client_encoding", "sslcert", "sslkey",
     "sslrootcert", "sslcrl", "sslcrldir", "krbsrvname", "gsslib", "requirepeer", "service",
     "requiressl", "replication", "min_protocol_version", "max_protocol_version"}
)  # fmt: skip
_PLACES = frozenset({"host", "user", "dbname"})
"""What the driver may repeat: it says where somebody wanted to go, and as whom."""
_SECRETS = frozenset(
    {"password", "sslpassword", "passfile", "passwd", "pwd", "pgpassword", "pgpassfile",
     "scram_client_key", "scram_server_key", "oauth_client_secret", "sslkeylogfile"}
)  # fmt: skip
_MOST_PORT = 65_535

NOT_IN_NAMES = re.compile(r"[#?&=;@\"'`<>\\^{|}\u00ab\u00bb\u2018-\u201f]")
"""In the names of a database and a dataset: what belongs to an address, or to whoever quoted it."""
_TO_ESCAPE = re.compile(rf"{NOT_IN_NAMES.pattern}|[%/]|^\s|\s$")

PASSWORD_PLACE: Final = "a password belongs in PGPASSWORD or in ~/.pgpass"


def holds_secret(options: Iterable[tuple[str, str]]) -> bool:
    """Whether one of them is a password, or a key in place of one."""
    return any(name.lower() in _SECRETS for name, _ in options)


def refuse_bad_options(options: Iterable[tuple[str, str]]) -> None:
    """Raise `ConfigError` for an option or a value that there is not; neither is repeated but for
    the names of options that there are."""
    for name, value in options:
        if name in _CHOICES:
            if value not in _CHOICES[name]:
                known = ", ".join(repr(one) for one in _CHOICES[name] if one)
                raise _bad(f"the option {name!r}", f"it may be {known}")
        elif name in _NUMBERS:
            if not re.fullmatch(r"[0-9]{1,9}", value):
                raise _bad(f"the option {name!r}", "it is a whole number")
        elif name == "port":
            refuse_bad_port(value)
        elif name == "hostaddr":
            _refuse_bad_addresses(value)
        elif name == "require_auth":
            if not all(_METHODS.fullmatch(one) for one in value.split(",")):
                raise _bad("the option 'require_auth'", "it may be 'scram-sha-256'")
        elif name == "options":
            _refuse_bad_settings(value)
        elif name not in _FREE | _PLACES:
            raise ConfigError(
                "the dataset's address has an option that PostgreSQL has not (it is not repeated:"
                f" it may be a password); one that is often used is 'sslmode'; {PASSWORD_PLACE}"
            )


def refuse_bad_port(text: str) -> None:
    """Raise `ConfigError` where it is no port, nor several with commas; an empty one is 5432."""
    for port in text.split(","):
        if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= _MOST_PORT):
            raise _bad("the port", f"it is a number from 1 to {_MOST_PORT}, as in HOST:5432")


def _refuse_bad_addresses(text: str) -> None:
    for address in filter(None, text.split(",")):
        try:
            ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            raise _bad("the option 'hostaddr'", "it is an IP address") from None


def _refuse_bad_settings(text: str) -> None:
    words = re.sub(r"-c\s+", "-c", text).split()
    if not all(_SETTING.fullmatch(word) for word in words):
        raise _bad("the option 'options'", "it is of the form -c%20NAME%3DVALUE")


def _bad(what: str, right: str) -> ConfigError:
    return ConfigError(
        f"{what} in the dataset's address is one that it cannot be (it is not repeated: it may be"
        f" a password); {right}; {PASSWORD_PLACE}"
    )


def name_in_url(name: str) -> str:
    """As it is written in an address: no sign of it is taken for a part of that."""
    return _TO_ESCAPE.sub(lambda found: quote(found[0], safe=""), name)


def unspoken(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What of them the driver's words are searched for before anybody reads them."""
    for name, value in options:
        if name == "options":
            yield from (word for word in re.split(r"[\s=]+", value) if len(word) > len("-c"))
        elif name in _FREE:
            yield value
