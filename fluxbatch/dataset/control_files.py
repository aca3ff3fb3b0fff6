"""The control images of a dataset, for whoever shows or exports them.

Owns where one is read: it is the user's own file, or, where machines share the dataset, its copy
in the image store. Whatever is read is what the ledger names, byte for byte, or it is not there.
"""

from __future__ import annotations

import errno
import hashlib
import os
from io import BytesIO
from typing import IO, NamedTuple

from fluxbatch.errors import SinkError
from fluxbatch.infra.image_type import MAX_FETCHED_BYTES
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.sink import ImageStore


class ControlFiles(NamedTuple):
    """Of one dataset; a value that other processes can be given."""

    store: ImageStore
    has_copies: bool
    """Whether the store may have what this machine lacks: where the dataset is in PostgreSQL."""

    def read(self, path: str, sha256: str) -> bytes:
        """Its bytes. Raises `OSError` where neither the file nor a copy is it. Blocks."""
        try:
            with self._file(path) as file:
                return _checked(file.read(), sha256, path)
        except OSError:
            if not self.has_copies:
                raise
        try:
            copy = self.store.read_kept_control(sha256)
        except SinkError as exc:
            raise OSError(errno.EIO, str(exc), path) from exc
        return _checked(copy, sha256, path)

    def open(self, path: str, sha256: str) -> IO[bytes]:
        """To be read, and compared with *sha256* by whoever reads a file that may have changed.

        Raises `OSError` as `read` does. Blocks.
        """
        return BytesIO(self.read(path, sha256)) if self.has_copies else self._file(path)

    def _file(self, path: str) -> IO[bytes]:
        file = open_regular(path)
        if os.fstat(file.fileno()).st_size > MAX_FETCHED_BYTES:
            file.close()
            raise OSError(errno.EFBIG, "it is too large for a control image", path)
        return file


def _checked(content: bytes, sha256: str, path: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise OSError(errno.ESTALE, "it is not the file that the ledger knows", path)
    return content
