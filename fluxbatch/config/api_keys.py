"""API keys: their sources, their labels, and which of them share limits.

Owns the only copies of the keys' texts. A key prints as its label and a short
fingerprint; its text is handed out by one method, to the code that writes the
request header. Source of the names: docs/design/decisions.md "Environment".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload
from urllib.parse import quote

from fluxbatch.config.settings import KeyEntry, Settings
from fluxbatch.config.trust import refuse_untrusted
from fluxbatch.errors import ConfigError
from fluxbatch.infra.regular_file import open_regular

_T = TypeVar("_T")

_SHORTEST_SECRET = 8
_LONGEST_KEY = 512
_MOST_BYTES = 64 * 1024
"""Of a file of keys: whoever names another file by mistake, or wants it sent, is refused."""
_LONGEST_LABEL = 30
"""Of a key that comes while a run is at work: a key in a label's place is longer."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_NAMES = ("EACHLABS_API_KEYS", "EACHLABS_API_KEY", "EACHLABS_API_KEY_FILE")


class ApiKey:
    """One key. Equal when the texts are; never printed."""

    __slots__ = ("_forms", "_text", "account", "fingerprint", "label")

    def __init__(self, text: str, *, label: str | None = None, account: str | None = None) -> None:
        self._text = text
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]
        """12 hex digits: enough to tell keys apart, useless to guess one from."""
        self.label = label or self.fingerprint[:6]
        self.account = account or self.fingerprint
        """Keys of one account share its limits."""
        self._forms = _forms_of(text)

    def reveal(self) -> str:
        """The text, for the request header alone."""
        return self._text

    def redacted(self, text: str) -> str:
        """*text* without this key in it.

        What is too short to be a secret stays: taking out every `k` would garble all words.
        """
        for form in self._forms:
            text = text.replace(form, f"<key {self.label}>")
        return text

    def forms(self) -> frozenset[str]:
        """How it may stand in a text: as it is, as JSON has it, and as a URL has it."""
        return self._forms

    def __repr__(self) -> str:
        return f"<key {self.label} {self.fingerprint[:6]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self.fingerprint)


_PLAIN = frozenset({type(None), bool, int, float, bytes, datetime})
"""What holds no text of a stranger; looked at before anything else, for every write."""


@cache
def _names_of(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass that its maker is given, or those that it says hold others' text;
    of anything else none."""
    if (foreign := getattr(kind, "FOREIGN_TEXT", None)) is not None:
        return tuple(foreign)
    return tuple(f.name for f in fields(kind) if f.init) if is_dataclass(kind) else ()


def _forms_of(text: str) -> frozenset[str]:
    if len(text) < _SHORTEST_SECRET:
        return frozenset()
    return frozenset({text, json.dumps(text)[1:-1], quote(text, safe="")})


class KeyFilter:
    """Takes keys out of whatever is about to be kept: what the provider says may hold them."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._forms = list[tuple[str, str]]()
        for key in keys:
            self.add(key)

    def add(self, key: ApiKey) -> None:
        """Take this one out as well from now on."""
        self._forms += [(form, f"<key {key.label}>") for form in key.forms()]

    def text(self, text: str) -> str:
        """*text* without any of the keys."""
        for form, name in self._forms:
            if form in text:
                text = text.replace(form, name)
        return text

    def value(self, value: _T) -> _T:
        """*value* without keys in its texts: those of dataclasses, tuples, lists and mappings."""
        return self._without(value) if self._forms else value

    def _without(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind is str:
            return self.text(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, tuple):
            items = [self._without(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {name: self._without(item) for name, item in value.items()}
        return self._of_dataclass(value) if _names_of(kind) else value

    def _of_dataclass(self, value: Any) -> Any:
        changed = {}
        kind: Any = type(value)
        for name in _names_of(kind):
            before = getattr(value, name)
            if type(before) in _PLAIN:
                continue
            if (after := self._without(before)) is not before and after != before:
                changed[name] = after
        return replace(value, **changed) if changed else value

    def __repr__(self) -> str:
        return f"<filter of {len(self._forms)} forms of keys>"


class Keyring(Sequence[ApiKey]):
    """The keys of one invocation; a run at work may be given more (`fluxbatch ctl DIR add-key`).

    Whoever hides keys holds the ring itself, and so hides those that come later too.
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = list(keys)
        self.filter = KeyFilter(self._keys)
        """Takes all of them out of what others say."""

    @classmethod
    def of(cls, keys: Sequence[ApiKey]) -> Keyring:
        """The ring itself where *keys* is one."""
        return keys if isinstance(keys, Keyring) else cls(keys)

    def add(self, key: ApiKey) -> None:
        """One more; one that is there already changes nothing."""
        if key not in self._keys:
            self._keys.append(key)
            self.filter.add(key)

    @overload
    def __getitem__(self, index: int) -> ApiKey: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ApiKey]: ...

    def __getitem__(self, index: int | slice) -> ApiKey | Sequence[ApiKey]:
        return self._keys[index]

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<ring of {self._keys}>"


def keys_for(settings: Settings, environ: Mapping[str, str]) -> list[ApiKey]:
    """Every key for the provider of *settings*; raise `ConfigError` as `find_keys` does, and
    where the provider's address comes from a file that nobody here has vouched for."""
    keys = find_keys(settings.keys, environ)
    provider = settings.provider
    if not provider.trust_base_url:
        by_reference = bool(settings.keys)
        refuse_untrusted(
            provider.base_url, settings.base_url_from, environ, by_reference=by_reference
        )
    return keys


def find_keys(entries: Sequence[KeyEntry], environ: Mapping[str, str]) -> list[ApiKey]:
    """Every key the config and the environment name, the first of equal ones only.

    Raises `ConfigError` when there is none, or a named one cannot be read.
    """
    keys = [_from_entry(entry, environ) for entry in entries]
    if not keys:
        keys = [
            *_from_list(environ.get("EACHLABS_API_KEYS", "")),
            *_from_list(environ.get("EACHLABS_API_KEY") or environ.get("EACH_API_KEY", "")),
            *_from_file(environ.get("EACHLABS_API_KEY_FILE")),
        ]
    if not keys:
        raise ConfigError(f"no API key: set {_NAMES[1]} (or {_NAMES[0]}, {_NAMES[2]})")
    unique = list(dict.fromkeys(keys))
    labels = [key.label for key in unique]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ConfigError(f"two keys share the label {sorted(twice)[0]!r}; give each its own")
    return unique


def key_to_add(text: str, label: str, account: str) -> ApiKey:
    """A key that a run at work is given; empty ones stand for the usual *label* and *account*.

    Raises `ConfigError`, which quotes nothing: what was meant to be a label may be a key.
    """
    if not text:
        raise ConfigError("there is no key: it was empty")
    if len(text) >= _SHORTEST_SECRET and text in f"{label} {account}":
        raise ConfigError("a key is no label: those are shown and written down")
    if len(label) > _LONGEST_LABEL or not all(_NAME.fullmatch(n) for n in (label, account) if n):
        raise ConfigError(
            "a label and an account have letters, digits and _ . - alone, a label at most"
            f" {_LONGEST_LABEL}"
        )
    return _checked(text, label=label or None, account=account or None)


def referenced_key_text(reference: str, label: str, environ: Mapping[str, str]) -> str:
    """The text that `env:NAME` or `file:PATH` stands for; raise `ConfigError`."""
    kind, _, where = reference.partition(":")
    if kind == "env":
        if not (text := environ.get(where, "").strip()):
            raise ConfigError(f"key {label!r}: the environment has no {where}")
        return text
    return _read(Path(where).expanduser(), f"key {label!r}")


def _from_entry(entry: KeyEntry, environ: Mapping[str, str]) -> ApiKey:
    text = referenced_key_text(entry.key, entry.label, environ)
    return _checked(text, label=entry.label, account=entry.account)


def _from_list(text: str) -> list[ApiKey]:
    """Comma-separated, each `label=key` or `key`."""
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, equals, key = part.partition("=")
        keys.append(
            _checked(key.strip(), label=label.strip()) if equals and key else _checked(part)
        )
    return keys


def _from_file(path: str | None) -> list[ApiKey]:
    if not path:
        return []
    lines = _read(Path(path).expanduser(), "EACHLABS_API_KEY_FILE").splitlines()
    return [key for line in lines if not line.lstrip().startswith("#") for key in _from_list(line)]


def _read(path: Path, named_by: str) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{named_by}: cannot read {str(path)!r}: {why}") from exc
    if not text:
        raise ConfigError(f"{named_by}: {str(path)!r} is empty")
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{named_by}: {str(path)!r} is too large for a file of keys")
    return text


def _checked(text: str, *, label: str | None = None, account: str | None = None) -> ApiKey:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(f"key {label or '(unlabelled)'!r} has characters no API key has")
    if len(text) > _LONGEST_KEY:
        raise ConfigError(
            f"key {label or '(unlabelled)'!r} has more than {_LONGEST_KEY} characters; none is so"
            " long"
        )
    return ApiKey(text, label=label, account=account)
