"""The comparison of stored files with what is known of them: there, of that size, of those bytes.

Owns what counts as whole. Reads files and changes none. Blocks; values go in and out, so that
another process can do it.
"""

from __future__ import annotations

import hashlib
import os
from typing import Literal, NamedTuple

from fluxbatch.sink.paths import PathRefused
from fluxbatch.sink.store import Images

_BLOCK = 1024 * 1024


class KnownFile(NamedTuple):
    """What a file has to be."""

    path: str
    sha256: str
    bytes: int | None
    """None: the hash alone is known."""


class FileCheck(NamedTuple):
    """Files to be compared."""

    images: Images
    files: tuple[KnownFile, ...]


class Fault(NamedTuple):
    """A stored file that is not what was stored."""

    number: int
    """Which of those compared, from 0."""
    kind: Literal["missing", "corrupt", "refused"]
    words: str


def check_files(check: FileCheck) -> list[Fault]:
    """Those that are not whole. Raises `SinkError` where the store does not answer."""
    found = ((number, _fault(check.images, file)) for number, file in enumerate(check.files))
    return [Fault(number, *fault) for number, fault in found if fault is not None]


def _fault(
    images: Images, file: KnownFile
) -> tuple[Literal["missing", "corrupt", "refused"], str] | None:
    try:
        with images.open(file.path) as handle:
            size = handle.seek(0, os.SEEK_END)
            if file.bytes is not None and size != file.bytes:
                return "corrupt", f"{size:,} bytes instead of {file.bytes:,}"
            handle.seek(0)
            digest = hashlib.sha256()
            while block := handle.read(_BLOCK):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return "missing", "the file is gone"
    except PathRefused as exc:
        return "refused", str(exc.strerror)
    except OSError as exc:
        return "corrupt", f"it cannot be read: {exc.strerror}"
    if digest.hexdigest() != file.sha256:
        return "corrupt", "its bytes are not those that were stored"
    return None
