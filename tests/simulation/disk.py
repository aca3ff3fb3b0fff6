"""The disk under the sink: every call of `os` is a step, and what is not synced can be lost.

Owns the stand-in for the module `os` that the sink's files see during a simulation.
A power cut undoes renames whose folder was not synced and tears files that were not. The
ledger is trusted to SQLite with `synchronous = FULL`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from fluxbatch.infra import atomic_file
from fluxbatch.sink import local_store
from tests.simulation.life import Dead, Life

_WRITERS = (atomic_file, local_store)


class Disk:
    """The calls that the sink makes; everything else is the real module's."""

    def __init__(self, random: Random) -> None:
        self.full_chance = 0.0
        """How often a write finds the disk full."""
        self._random = random
        self._life: Life | None = None
        self._open: dict[int, str] = {}
        self._unsynced: dict[str, int] = {}
        """Path to the bytes of it that are safe."""
        self._renamed: list[tuple[str, str]] = []
        """Renames that a power cut undoes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def serve(self, life: Life) -> None:
        """From now on it is *life* that writes."""
        self._life = life
        life.on_death.append(self._drop_handles)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        self._step("open")
        handle = os.open(path, flags, mode)
        self._open[handle] = str(path)
        if flags & os.O_CREAT:
            self._unsynced[str(path)] = 0
        return handle

    def write(self, handle: int, data: Any) -> int:
        self._step("write")
        if self._random.random() < self.full_chance:
            raise OSError(errno.ENOSPC, "No space left on device")
        some = data[: max(1, len(data) // 2)] if self._random.random() < 0.1 else data
        return os.write(handle, some)

    def fsync(self, handle: int) -> None:
        self._step("fsync")
        path = self._open.get(handle, "")
        if os.path.isdir(path):
            self._renamed = [one for one in self._renamed if os.path.dirname(one[1]) != path]
        else:
            self._unsynced.pop(path, None)

    def close(self, handle: int) -> None:
        if self._open.pop(handle, None) is not None:  # else its process has died meanwhile
            os.close(handle)

    def replace(self, old: str, new: str | Path) -> None:
        self._step("replace")
        old, new = os.fspath(old), os.fspath(new)
        os.replace(old, new)
        self._renamed.append((old, new))
        if old in self._unsynced:
            self._unsynced[new] = self._unsynced.pop(old)

    def unlink(self, path: str) -> None:
        self._step("unlink")
        os.unlink(path)
        self._unsynced.pop(path, None)

    def makedirs(self, path: str, mode: int = 0o777, exist_ok: bool = False) -> None:
        self._step("makedirs")
        os.makedirs(path, mode, exist_ok)

    def power_cut(self) -> None:
        """What was not synced is lost or torn, each by its own luck."""
        for old, new in reversed(self._renamed):
            if self._random.random() < 0.5 and os.path.exists(new):
                with suppress(OSError):
                    os.replace(new, old)
                    if new in self._unsynced:
                        self._unsynced[old] = self._unsynced.pop(new)
        for path, safe in self._unsynced.items():
            self._tear(path, safe)
        self.forget()

    def forget(self) -> None:
        """Everything written so far has reached the disk by itself."""
        self._renamed.clear()
        self._unsynced.clear()

    def _tear(self, path: str, safe: int) -> None:
        with suppress(FileNotFoundError):
            size = os.path.getsize(path)
            luck = self._random.random()
            if luck < 0.3:
                os.unlink(path)
            elif luck < 0.6:
                os.truncate(path, self._random.randint(safe, size))
            elif luck < 0.8:
                with open(path, "r+b") as file:
                    file.write(bytes(size))

    def _step(self, name: str) -> None:
        if self._life is None:
            raise Dead(name)
        self._life.step(f"disk: {name}")

    def _drop_handles(self) -> None:
        """A dead process holds nothing open."""
        for handle in self._open:
            os.close(handle)
        self._open.clear()


@contextmanager
def disk_under_sink(disk: Disk) -> Iterator[None]:
    """The sink writes through *disk* meanwhile."""
    for module in _WRITERS:
        vars(module)["os"] = disk
    try:
        yield
    finally:
        for module in _WRITERS:
            vars(module)["os"] = os
