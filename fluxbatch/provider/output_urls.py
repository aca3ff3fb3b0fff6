"""The URLs in an output of any shape.

Owns the rule that a success which names any place of an image is never taken for one without
output, or it would be bought again: what is no URL as it stands is made one where it can be, and
else handed on as it is, to be kept for `repair`. Source:
docs/design/provider-api.md "Status words".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

_MAX_URLS = 64
_MAX_DEPTH = 8
_MAX_TEXTS = 10_000
_URL_NAMES = ("url", "images", "image", "output", "outputs", "urls", "files", "file", "data", "uri")
_NO_OUTPUT_NAMES = frozenset({"error", "errors", "error_code", "error_message", "message", "logs"})
_PLACE = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{0,20}:[^\s:]|//?[^\s/]|www\.|\S+\.(?:png|jpe?g|webp|gif|avif)\b|(?:iVBORw0KGgo|UklGR|R0lGOD|AAAA)[\w+/=-]{90}",
    re.I,
)
"""Begins an address of any scheme or none, or an image written as base64 (a jpg's begins with a
slash)."""


def urls_of(output: object) -> tuple[str, ...]:
    """Where its images are, in its order; empty where it names none at all."""
    named = _first(_named(output, 0))
    if any(map(is_web_address, named)):
        return named
    everywhere = _first(dict.fromkeys(_texts(output)))
    return tuple(filter(is_web_address, everywhere)) or named or everywhere


def is_web_address(place: str) -> bool:
    return place[:8].lower().startswith(("https://", "http://"))


def _first(places: Iterator[str] | Mapping[str, None]) -> tuple[str, ...]:
    return tuple(place for place, _ in zip(places, range(_MAX_URLS), strict=False))


def _named(value: object, depth: int) -> Iterator[str]:
    """By the names that are known, in the shapes that are known."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        if value.strip()[:1] in ("[", "{"):  # a list of URLs that was made a string on its way
            yield from _named(_nested_json(value), depth + 1)
        elif (place := _place(value)) is not None:
            yield place
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, depth + 1)
    elif isinstance(value, Mapping):
        # One name only: an object with `url` and `thumbnail` is one image, not two.
        for name in _URL_NAMES:
            if found := list(_named(value.get(name), depth + 1)):
                yield from found
                return


def _texts(value: object) -> Iterator[str]:
    """Every place in it by whatever name, but for what speaks of an error."""
    waiting, seen = [value], 0
    while waiting and seen < _MAX_TEXTS:
        one = waiting.pop()
        seen += 1
        if isinstance(one, str):
            if (place := _place(one)) is not None:
                yield place
        elif isinstance(one, list):
            waiting.extend(reversed(one[:_MAX_TEXTS]))
        elif isinstance(one, Mapping):
            inner = [item for name, item in one.items() if name not in _NO_OUTPUT_NAMES]
            waiting.extend(reversed(inner[:_MAX_TEXTS]))


def _place(text: str) -> str | None:
    """*text* as an address that can be asked for, or at least kept; None where it is none.

    As browsers read one: blanks around it, line ends and tabs anywhere are no part of it, other
    blanks and what cannot be printed are escaped.
    """
    text = re.sub(r"[\t\r\n]", "", text).strip("".join(map(chr, range(33))))
    if text.startswith("//"):
        text = f"https:{text}"
    if _PLACE.match(text) is None:
        return None
    if text.isprintable() and " " not in text:
        return text
    return "".join(
        one if one.isprintable() and one != " " else quote(one, safe="", errors="surrogatepass")
        for one in text
    )


def _nested_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
