"""The local copy of a manifest that is not a file here: a URL or stdin, read twice.

Owns the name of that file, which is its content's, so that the same rows are the same manifest
again. Relative files of its rows begin in the working directory.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from fluxbatch.errors import ManifestError, SinkError
from fluxbatch.infra.atomic_file import atomic_file
from fluxbatch.infra.object_store import EXTRA, open_store, store_error_text
from fluxbatch.infra.redaction import strip_query
from fluxbatch.manifest.control_images.errors import CONTROL_BLOCK_BYTES

_STDIN = "-"
_address = re.compile(r"(https?|s3|gs):/+(.+)", re.IGNORECASE | re.DOTALL).fullmatch
_spooled = re.compile(r"(stdin|fetched)-[0-9a-f]{16}(?:-(.*))?", re.DOTALL).fullmatch
_TIMEOUT_S = 3_600.0
_PATIENCE_S = 60.0


def is_elsewhere(path: Path) -> bool:
    """Whether *path* names stdin (`-`) or a URL, of which `Path` keeps one slash."""
    return str(path) == _STDIN or _address(str(path)) is not None


def as_written(path: Path) -> str:
    """*path*, a URL with both of its slashes."""
    found = _address(str(path))
    return f"{found[1].lower()}://{found[2]}" if found is not None else str(path)


def localize(path: Path, place: Path, stdin: BinaryIO | None = None) -> Path:
    """*path*, or where in the folder *place* its rows were written; blocks until they are.

    Raises `ManifestError` for what cannot be read, `SinkError` where it cannot be written.
    """
    if _address(str(path)) is not None:
        return fetch(as_written(path), place)
    return save_stdin(stdin or sys.stdin.buffer, place) if str(path) == _STDIN else path


def save_stdin(stream: BinaryIO, place: Path) -> Path:
    """Write all of *stream* into the folder *place*."""
    path = _keep(iter(lambda: stream.read(CONTROL_BLOCK_BYTES), b""), place, "stdin", "")
    if path is None:
        raise ManifestError("nothing came from stdin; a manifest has at least one row")
    return path


def fetch(url: str, place: Path) -> Path:
    """Write the object at an https, s3 or gs *url* into the folder *place*."""
    parts = urlsplit(url)
    shown = strip_query(url)
    name = parts.path.rpartition("/")[2]
    if parts.query or parts.username or not parts.hostname or not name:
        raise ManifestError(
            f"manifest {shown!r} cannot be fetched: the address of a file is wanted, without a"
            " key or a query; save it to a file first"
        )
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ManifestError(f"manifest {shown!r} could be changed on its way here; use https")
    path = _keep(_blocks(url, shown), place, "fetched", f"-{name}")
    if path is None:
        raise ManifestError(f"manifest {shown!r} is empty; it needs at least one row")
    return path


def is_spooled(path: Path) -> bool:
    """Whether *path* is what `localize` has written."""
    return _spooled(path.name) is not None


def name_of(path: Path) -> str:
    """*path* as people know it."""
    found = _spooled(path.name)
    return str(path) if found is None else found[2] or "stdin"


def _blocks(url: str, shown: str) -> Iterator[bytes]:
    try:
        import obstore
        from obstore.exceptions import BaseError
    except ImportError:
        raise ManifestError(f"manifest {shown!r} is elsewhere; {EXTRA} to fetch it") from None
    folder, _, name = url.rpartition("/")
    try:
        store = open_store(folder, timeout_s=_TIMEOUT_S, patience_s=_PATIENCE_S)
        for block in obstore.get(store, name).stream(min_chunk_size=CONTROL_BLOCK_BYTES):
            yield bytes(block)
    except (BaseError, ValueError, OSError) as exc:
        raise ManifestError(f"cannot fetch manifest {shown!r}: {store_error_text(exc)}") from None


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keep(blocks: Iterable[bytes], place: Path, prefix: str, suffix: str) -> Path | None:
    """The file of *blocks*; None where there is no byte in them."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as half:
            for block in blocks:
                half.write(block)
            if not half.size:
                return None
            half.commit(path := place / f"{prefix}-{half.sha256[:16]}{suffix}")
    except OSError as exc:
        raise SinkError(f"cannot write the manifest in {str(place)!r}: {exc.strerror}") from exc
    return path
