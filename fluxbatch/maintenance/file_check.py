"""The comparison of the dataset's files with the ledger: there, of that size, of those bytes.

Owns what counts as whole. Reads files and changes none. Blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

from fluxbatch.ledger.queries.audit import StoredFile
from fluxbatch.sink import Images, PathRefused

_BLOCK = 1024 * 1024


class Fault(NamedTuple):
    """A stored output whose file is not what was stored."""

    file: StoredFile
    kind: Literal["missing", "corrupt", "refused"]
    words: str


def faults(images: Images, files: Sequence[StoredFile]) -> list[Fault]:
    """Those of *files* that are not whole."""
    return [fault for file in files if (fault := _fault(images, file)) is not None]


def _fault(images: Images, file: StoredFile) -> Fault | None:
    try:
        with images.open(file.path) as handle:
            size = handle.seek(0, os.SEEK_END)
            if file.bytes is not None and size != file.bytes:
                words = f"{size:,} bytes instead of {file.bytes:,}"
                return Fault(file, "corrupt", words)
            handle.seek(0)
            digest = hashlib.sha256()
            while block := handle.read(_BLOCK):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return Fault(file, "missing", "the file is gone")
    except PathRefused as exc:
        return Fault(file, "refused", str(exc.strerror))
    except OSError as exc:
        return Fault(file, "corrupt", f"it cannot be read: {exc.strerror}")
    if digest.hexdigest() != file.sha256:
        return Fault(file, "corrupt", "its bytes are not those that were stored")
    return None
