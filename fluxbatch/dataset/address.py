"""The address of a dataset: a folder of this machine, or a name in a PostgreSQL database.

Owns what an address may look like, and that no part of a malformed one is repeated: nobody can
say which part of it is the password. What is nearly an address is no folder: it would be called
after the password, and hold what was meant to be shared. Opens nothing.
Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db.server_options import (
    NOT_IN_NAMES,
    PASSWORD_PLACE,
    holds_secret,
    name_in_url,
    refuse_bad_options,
    refuse_bad_port,
)

_SCHEME = re.compile(r"postgres(?:ql)?:/+", re.IGNORECASE)
_PARTS = 3
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:#]*)(?::(.*))?")
_FORM = (
    "postgresql://[USER@]HOST[:PORT]/DATABASE/NAME; it is not repeated here, for it may hold a"
    f" password ({PASSWORD_PLACE})"
)
_SHAPE = (
    f"the dataset's address is not of the form {_FORM}; in NAME write '%23' for '#', '%2F' for '/'"
    " and so on"
)
_NEARLY = (
    f"the dataset looks like the address of a database, and is not of the form {_FORM}; a folder"
    " that has such a name is taken by its whole path, or as '.' from within"
)
_NO_PASSWORD = (
    "the dataset's address holds a password, which processes and logs would show: leave it out,"
    " and set PGPASSWORD or write it into ~/.pgpass"
)

_PRODUCT = r"(?:postgr\w*|psql|pgsql)(?:\+\w+)?"
_HOST = r"(?:localhost|\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)+)"
_WORD = r"(?:host(?:addr)?|user ?(?:name|id)?|dbname|database|port|server|service|sslmode|options)"

_ANYWHERE = (
    r"(?:^|[^a-z])(?:pg|ssl)?(?:password|passwd|pwd|passfile|passphrase)\s*[=:]",
    rf"(?:^|[\s;/]){_WORD}\s*=.*[\s;]{_WORD}\s*=",
    rf"(?:^|[^a-z0-9]){_PRODUCT}\s*:\s*/.*@",
    r"^:?/+[^/]+:[^/]*@[^/]+/[^/]+/[^/]+$",
)
"""Conninfo strings; a whole address behind a folder, or behind a slash."""
_WHERE_ONE_STANDS = (
    r":.*@",  # USER:PASSWORD@HOST, whatever the password has in it
    r"@[^/@]*:\d+(?:/|$)",
    rf"^(?:[\w+.-]+\s*:\s*)*{_PRODUCT}\s*[:;,].*[/@]",
    rf"^{_PRODUCT}/+(?:[^/]*@|{_HOST}(?::\d+)?/[^/]+/[^/]+/?$)",
    rf"(?:^|/){_HOST}:\d{{2,5}}/[^/]+/[^/]+/?$",
    r"^(?:[a-z][a-z0-9+.-]*:)*[a-z][a-z0-9+.-]+:/",
)
"""Where the path does not begin at the root: the parts of an address."""
_IN_PLACE = re.compile(r":?//|(?![a-z]:/)[^/]")
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_PRODUCT_URL = re.compile(rf"{_PRODUCT}:", re.IGNORECASE)


def dataset_at(place: str | os.PathLike[str]) -> Folder:
    """The dataset of that folder or address; raises `ConfigError` for an address it cannot be.

    A `Path` has made one slash of two, which leaves an address as clear as it was.
    """
    text = os.fspath(place)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _is_nearly_address(text):
            raise ConfigError(_NEARLY)
        return Folder(Path(text))
    head, _, query = text[scheme.end() :].partition("?")
    parts = head.split("/")
    if text != text.strip() or _has_controls(text):
        raise ConfigError(_SHAPE)
    if len(parts) != _PARTS or not all(parts):
        raise ConfigError(_SHAPE)
    authority, database, name = parts
    if NOT_IN_NAMES.search(database + name) or ":" in unquote(database):
        raise ConfigError(_SHAPE)
    if _has_controls(unquote(authority + database)):
        raise ConfigError(_SHAPE)
    _refuse_options(query)
    _refuse_authority(authority)
    from fluxbatch.dataset.shared_dataset import SharedDataset  # most datasets are folders

    server = f"postgresql://{authority}/{database}"
    dataset = _decoded(name)
    options = f"?{query}" if query else ""
    return SharedDataset(_scratch(f"{server}/{name_in_url(dataset)}"), server + options, dataset)


def _decoded(name: str) -> str:
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(
            "the dataset's NAME in the address is not text: what '%' stands for is UTF-8, as in"
            " '%C3%A9' for 'é'"
        ) from None


def _refuse_authority(authority: str) -> None:
    user, at, hosts = authority.rpartition("@")
    if at and not hosts:
        raise ConfigError(_NO_PASSWORD)
    if ":" in unquote(user) or "@" in user:
        raise ConfigError(_NO_PASSWORD)
    for one in hosts.split(","):
        parts = _HOST_PORT.fullmatch(one)
        if parts is None:
            raise ConfigError(_SHAPE)
        refuse_bad_port(parts[1] or "")


def _refuse_options(query: str) -> None:
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ConfigError(_SHAPE) from None
    if holds_secret(options):
        raise ConfigError(_NO_PASSWORD)
    refuse_bad_options(options)


def _is_nearly_address(text: str) -> bool:
    """Whether *text*, which is no address, was probably meant to be a database's.

    URLs of other kinds are not: whoever makes a `Folder` of one says which kind it was.
    """
    if _URL.match(text) and not _PRODUCT_URL.match(text):
        return False
    plain = _plain(text)
    kinds = _ANYWHERE + (_WHERE_ONE_STANDS if _IN_PLACE.match(plain) else ())
    read = {plain, _plain(unquote(plain))}
    return any(re.search(kind, words, re.DOTALL) for kind in kinds for words in read)


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in text)


def _plain(text: str) -> str:
    """Without what a copy from a text or a shell adds: quotes, wide letters, what is not seen."""
    signs = unicodedata.normalize("NFKC", text).casefold().replace("\\", "/")
    kept = "".join(" " if sign.isspace() else sign for sign in signs if not _is_dropped(sign))
    return kept.strip()


def _is_dropped(sign: str) -> bool:
    kind = unicodedata.category(sign)
    is_quote = sign in "\"'`<>\u00b4\u201e" or kind in {"Pi", "Pf"}
    return is_quote or (kind.startswith("C") and not sign.isspace())


def _scratch(address: str) -> Path:
    """This machine's own folder for what passes through it; the same for all its processes."""
    from fluxbatch.scheduler.state_folder import state_folder

    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    return state_folder() / "shared" / name
