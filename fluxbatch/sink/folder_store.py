"""The image store in a folder of its own, which several machines may have mounted.

Owns whose images it holds, and that a folder which is not mounted here is never taken for one
that has lost them. Everything else is as in the dataset's own folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.infra.atomic_file import sync
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.sink.bucket_store import OWNER
from fluxbatch.sink.local_store import LocalStore
from fluxbatch.sink.temp_file import TempFile, disk_errors

SCHEME = "file://"


class FolderStore(LocalStore):
    """Images below the absolute folder of *url*, `file:///…`; temporary files are there too."""

    def __init__(self, url: str, *, is_claimed: bool) -> None:
        """*is_claimed*: a run has left its mark there; where that is gone, so is all else."""
        super().__init__(Path(url.removeprefix(SCHEME)))
        self._owner = f"{self._root}/{OWNER}"
        self._is_claimed = is_claimed

    def __reduce__(self) -> tuple[Any, ...]:
        opened = partial(FolderStore, f"{SCHEME}{self._root}", is_claimed=self._is_claimed)
        return opened, ()

    def claim(self, dataset: str) -> None:
        """Leave the dataset's name beside `images/`. The folder itself is never made: it may be
        a mount point with nothing mounted."""
        if self._is_claimed and not self._is_there():
            raise ConfigError(self._not_there())
        if not os.path.isdir(self._root):
            raise ConfigError(
                f"there is no folder {self._root!r} on this machine (sink.store): make it, or"
                " mount it"
            )
        super().claim(dataset)
        mine = json.dumps({"dataset": dataset}).encode()
        if self._owner_read() is None:
            with super().begin() as half:
                half.write(mine)
                half.rename(self._owner, OWNER)
            with disk_errors(self._root):
                sync(self._root)
        if self._owner_read() != mine:
            raise ConfigError(
                f"{self._root!r} holds the images of another dataset: name another folder"
                f" (sink.store), or delete {self._owner!r} if that dataset is no more"
            )

    def begin(self) -> TempFile:
        self._check()
        return super().begin()

    def open(self, path: str) -> IO[bytes]:
        try:
            return super().open(path)
        except FileNotFoundError:
            self._check()
            raise

    def has(self, path: str) -> bool:
        if super().has(path):
            return True
        self._check()
        return False

    def paths(self) -> Iterator[str]:
        self._check()
        return super().paths()

    def kept_controls(self) -> set[str]:
        self._check()
        return super().kept_controls()

    def read_kept_control(self, sha256: str) -> bytes:
        try:
            return super().read_kept_control(sha256)
        except FileNotFoundError:
            self._check()
            raise

    def _owner_read(self) -> bytes | None:
        try:
            with disk_errors(self._owner), open_regular(self._owner) as file:
                return file.read()
        except SinkError:
            if os.path.lexists(self._owner):
                raise
            return None

    def _is_there(self) -> bool:
        return os.path.isfile(self._owner)

    def _check(self) -> None:
        if not self._is_there():
            raise SinkError(self._not_there())

    def _not_there(self) -> str:
        return (
            f"this machine sees nothing of the dataset's images in {self._root!r}: {OWNER!r} is"
            " not in it; mount the folder here"
        )
