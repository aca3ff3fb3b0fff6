"""The check of a node before a worker starts there: version, config, keys, database, store.

Owns what a node must have of its own, and runs on that node. Its answer goes through Ray, so it
holds no key and no password: problems in words, and hashes of files. Source:
docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxbatch._version import __version__
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.source import BatchSource
from fluxbatch.errors import ConfigError, FluxbatchError
from fluxbatch.ledger.db.postgres_connection import connected
from fluxbatch.manifest.readers.remote_file import is_elsewhere
from fluxbatch.sink.folder_store import SCHEME

_MARK = ".fluxbatch-seen-"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class NodeQuestion:
    """What a worker would be started with; plain values, for another version may get them."""

    version: str
    cwd: str
    given: str
    """What was typed; `source`, or a saved plan of it."""
    source: str
    flags: Mapping[str, Any]
    out: str
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the files of the batch as whoever asks sees them; none: not compared."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node has."""

    problems: tuple[str, ...]
    digests: Mapping[str, str]
    images: str | None = None
    """The folder that all nodes have to see; None: it is none."""


def check_node(asked: NodeQuestion, *, needs_keys: bool = True) -> NodeState:
    """What is wrong with this machine, nothing being asked of the provider."""
    if asked.version != __version__:
        problem = f"fluxbatch {__version__} is installed, and {asked.version} where the run is from"
        return NodeState((f"{problem}: install the same version",), {})
    try:
        os.chdir(asked.cwd)
    except OSError as exc:
        problem = f"there is no folder {asked.cwd!r} ({exc.strerror}), where the run is started"
        return NodeState((f"{problem}: make or mount it",), {})
    problems = []
    try:
        source = BatchSource(Path(asked.source), asked.flags)
        files = _files(source, [Path(asked.given), Path(asked.source)])
        digests = _digests(files)
    except (FluxbatchError, OSError) as exc:
        return NodeState((str(exc),), {})
    problems += [
        f"there is no file {str(path)!r}: copy it there, or correct its name"
        for path in files
        if not is_elsewhere(path) and not path.exists()
    ]
    for name, digest in asked.digests.items():
        if digests.get(name) != digest:
            problems.append(f"{name!r} is another file than where the run is from: copy it there")
    if needs_keys:
        try:
            source.keys()
        except ConfigError as exc:
            problems.append(str(exc))
    try:
        _reach(dataset_at(asked.out))
    except FluxbatchError as exc:
        problems.append(str(exc))
    store = source.settings.sink.store
    images = store.removeprefix(SCHEME) if store and store.startswith(SCHEME) else None
    if images is not None and not os.path.isdir(images):
        problems.append(f"there is no folder {images!r} (sink.store): make it, or mount it")
    return NodeState(tuple(problems), digests, images)


def leave_mark(folder: str) -> str:
    """The name of a new, empty file in *folder*."""
    name = f"{_MARK}{secrets.token_hex(8)}"
    Path(folder, name).touch(exist_ok=False)
    return name


def sees_mark(folder: str, name: str) -> bool:
    """Whether this machine sees the file."""
    with suppress(OSError):
        os.listdir(folder)  # asks a network disk anew
    return Path(folder, name).exists()


def take_mark(folder: str, name: str) -> None:
    """The file is there no more."""
    Path(folder, name).unlink(missing_ok=True)


def _files(source: BatchSource, given: Sequence[Path]) -> list[Path]:
    """What decides what is made."""
    manifest = [source.manifest] if source.manifest is not None else []
    return list(dict.fromkeys([*given, *manifest]))


def _digests(files: Sequence[Path]) -> dict[str, str]:
    """The hash of each of them; folders and URLs have none."""
    found = {}
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                found[str(path)] = _sha256(file)
    return found


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _reach(dataset: object) -> None:
    """Raise `LedgerError` or `ConfigError` where the database does not let this machine in."""
    assert isinstance(dataset, SharedDataset)
    connected(dataset.server, dataset.dataset).close()
