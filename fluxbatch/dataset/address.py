"""The address of a dataset: a folder of this machine, or a name in a PostgreSQL database.

Owns what an address may look like, and that no part of a malformed one is repeated: nobody can
say which part of it is the password. Opens nothing. Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError

_SCHEME = re.compile(r"postgres(?:ql)?:/+", re.IGNORECASE)
_PARTS = 3
_SECRETS = frozenset({"password", "sslpassword", "passfile"})
_SHAPE = (
    "the dataset's address is not of the form postgresql://[USER@]HOST[:PORT]/DATABASE/NAME; it is"
    " not repeated here, for it may hold a password"
)
_NO_PASSWORD = (
    "the dataset's address holds a password, which processes and logs would show: leave it out,"
    " and set PGPASSWORD or write it into ~/.pgpass"
)


def dataset_at(place: str | os.PathLike[str]) -> Folder:
    """The dataset of that folder or address; raises `ConfigError` for an address it cannot be.

    A `Path` has made one slash of two, which leaves an address as clear as it was.
    """
    text = os.fspath(place)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Folder(Path(text))
    head, _, query = text[scheme.end() :].partition("?")
    parts = head.split("/")
    if len(parts) != _PARTS or not all(parts):
        raise ConfigError(_SHAPE)
    authority, database, name = parts
    _refuse_passwords(authority, query)
    from fluxbatch.dataset.shared_dataset import SharedDataset  # most datasets are folders

    address = f"postgresql://{authority}/{database}"
    options = f"?{query}" if query else ""
    return SharedDataset(_scratch(f"{address}/{name}"), address + options, unquote(name))


def _refuse_passwords(authority: str, query: str) -> None:
    user, at, host = authority.rpartition("@")
    if ":" in user or "@" in user or (at and not host):
        raise ConfigError(_NO_PASSWORD)
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ConfigError(_SHAPE) from None
    if _SECRETS & {name.lower() for name in options}:
        raise ConfigError(_NO_PASSWORD)


def _scratch(address: str) -> Path:
    """This machine's own folder for what passes through it; the same for all its processes."""
    from fluxbatch.scheduler.state_folder import state_folder

    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    return state_folder() / "shared" / name
