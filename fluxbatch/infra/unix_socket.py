"""Unix sockets in folders whose paths are longer than a socket's address may be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_BYTES = 100
"""Of an address; the systems' own limits are 104 and 108."""


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address of the socket *path* that is short enough, for as long as the block lasts.

    Raises `OSError` where there is none.
    """
    if len(os.fsencode(path)) <= _MOST_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
