"""The redaction of addresses, and of text from other programs, for our messages.

What the provider, a gateway or aiohttp says ends up in terminals, logs, the ledger
and reports. Owns what is taken out of it: control characters, URLs' query strings and
passwords (they are credentials), markup, and everything beyond a readable length.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

MAX_CHARS = 500

_URL_SECRETS = re.compile(
    r"(https?://)(?:[^\s/?#\"'<>@]*@)?([^\s?#\"'<>\\]*)([?#][^\s\"'<>\\]*)?", re.I
)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.I | re.S)
_INVISIBLE = re.compile(
    r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SUSPECT = re.compile(r"://|  ").search


def sanitize(text: str, *, limit: int = MAX_CHARS) -> str:
    """*text* on one line, without control characters and URLs' secrets, at most *limit* long."""
    if len(text) <= limit and text.isascii() and text.isprintable() and not _SUSPECT(text):
        return text.strip()
    text = _URL_SECRETS.sub(r"\1\2", text[: 20 * limit])
    text = _INVISIBLE.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def strip_markup(text: str) -> str:
    """The text of an HTML page, for gateways that answer with one."""
    return _MARKUP.sub(" ", text)


def host_of(url: str) -> str:
    """As much of *url* as a message needs."""
    try:
        return sanitize(urlsplit(url).hostname or "?")
    except ValueError:
        return "?"


def strip_query(url: str) -> str:
    """*url* without what may be a token; what stays names the image but opens nothing.

    Whatever the provider sent: a success must be recorded even if its URL is no URL.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    plain = rest.split("?", 1)[0].split("#", 1)[0]
    authority, slash, path = plain.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"


def strip_queries(value: Any) -> Any:
    """A JSON value whose URLs have no query; a text with a URL in it is a text."""
    if isinstance(value, str):
        return strip_query(value) if "://" in value and _URL.fullmatch(value) else value
    if isinstance(value, dict):
        return {name: strip_queries(item) for name, item in value.items()}
    if isinstance(value, list):
        return [strip_queries(item) for item in value]
    return value
