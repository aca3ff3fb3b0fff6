"""The redaction of URLs and of text from other programs: no secrets, one line, not long."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_URL_SECRETS = re.compile(r"(https?://)(?:[^\s/?#\"'<>@]*@)?([^\s?#\"'<>\\]*)[^\s\"'<>\\]*", re.I)
_MAX_CHARS = 300


def sanitize_url(text: str) -> str:
    """*text* on one line, without URLs' query strings and passwords."""
    plain = _URL_SECRETS.sub(r"\1\2", text[: 20 * _MAX_CHARS])
    return "".join(c if c.isprintable() else " " for c in plain).strip()[:_MAX_CHARS]


def host_of(url: str) -> str:
    """As much of *url* as a message needs."""
    try:
        return sanitize_url(urlsplit(url).hostname or "?")
    except ValueError:
        return "?"
