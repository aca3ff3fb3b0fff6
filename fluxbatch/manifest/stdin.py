"""A manifest from stdin: written to a file first, because it is read more than once.

Owns the name of that file, which is its content's, so that the same rows are the same manifest
again. Its relative files begin in the working directory, where the pipe was.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from fluxbatch.errors import ManifestError, SinkError

STDIN = Path("-")
_PREFIX = "stdin-"
_BLOCK_BYTES = 1024 * 1024


def spool(stream: BinaryIO, place: Path) -> Path:
    """Write all of *stream* into the folder *place*; blocks until its end.

    Raises `ManifestError` for nothing at all, `SinkError` where it cannot be written.
    """
    digest = hashlib.sha256()
    half = place / f"{secrets.token_hex(8)}.part"
    try:
        place.mkdir(parents=True, exist_ok=True)
        try:
            with half.open("xb") as file:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
                    file.write(block)
                if not file.tell():
                    raise ManifestError("nothing came from stdin; a manifest has at least one row")
                file.flush()
                os.fsync(file.fileno())
            path = place / f"{_PREFIX}{digest.hexdigest()[:16]}"
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as exc:
        raise SinkError(f"cannot write the manifest in {str(place)!r}: {exc.strerror}") from exc
    return path


def is_spooled(path: Path) -> bool:
    """Whether *path* is what `spool` has written."""
    return path.name.startswith(_PREFIX) and not path.suffix
