"""Bodies that came for paid outputs and could not be read as an image.

Owns the folder `unread/` below the dataset, a flat one: whatever was paid for is still there for a
`repair` that reads more, when its URL has long gone. Everything here blocks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from fluxbatch.errors import SinkError
from fluxbatch.infra.atomic_file import atomic_file

_MAX_NAME_CHARS = 80
_IN_PLACE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)


class Aside:
    """The last body that came for each output, by the output's stem."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, stem: str) -> Path:
        """The file of that output, whether it is there or not."""
        digest = hashlib.sha256(stem.encode()).hexdigest()[:16]
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", stem.rpartition("/")[2])[-_MAX_NAME_CHARS:]
        return self._folder / f"{digest}-{name}.bin"

    def keep(self, stem: str, content: bytes) -> Path:
        """Write *content*, durably; raise `SinkError` where that fails."""
        place = self.place(stem)
        try:
            self._folder.mkdir(exist_ok=True)
            if self._folder.is_symlink():
                raise OSError(errno.ELOOP, "it is a link, which is not followed")
            with atomic_file(self._folder) as half:
                half.write(content)
                half.commit(place)
        except OSError as exc:
            raise SinkError(f"cannot write {str(place)!r}: {exc.strerror}") from exc
        return place

    def content(self, stem: str, most_bytes: int) -> bytes | None:
        """What was kept; None where nothing was, or it cannot be read."""
        if self._folder.is_symlink():
            return None
        try:
            handle = os.open(self.place(stem), _IN_PLACE)
        except OSError:
            return None
        with open(handle, "rb") as file:
            content = file.read(most_bytes + 1)
        return content if 0 < len(content) <= most_bytes else None

    def drop(self, stem: str) -> None:
        """The output is stored; an empty folder goes with it."""
        with suppress(OSError):
            self.place(stem).unlink(missing_ok=True)
            self._folder.rmdir()
