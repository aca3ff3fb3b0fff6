"""The redaction of text from other programs, for our messages.

What the provider, a gateway or aiohttp says ends up in terminals, logs, the ledger
and reports. Owns what is taken out of it: control characters, URLs' query strings and
passwords (they are credentials), markup, and everything beyond a readable length.
"""

from __future__ import annotations

import re

MAX_CHARS = 500

_URL_SECRETS = re.compile(
    r"(https?://)(?:[^\s/?#\"'<>@]*@)?([^\s?#\"'<>\\]*)([?#][^\s\"'<>\\]*)?", re.I
)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.I | re.S)
_INVISIBLE = re.compile(
    r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)


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
