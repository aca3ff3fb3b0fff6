"""Packed manifests: gzip and zstd, unpacked as they are read.

Owns the two formats and how much a small file may become. Which of them a file is, its first
bytes say, not its name.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from typing import Any, Literal, Protocol, cast

from fluxbatch.errors import ManifestError

Packing = Literal["gzip", "zstd"]

_MAGIC: tuple[tuple[bytes, Packing], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_ALWAYS_BYTES = 1024**3
_MOST_TIMES = 200


class Readable(Protocol):
    """Bytes, read forward."""

    def read(self, size: int = -1, /) -> bytes: ...


def packing_of(head: bytes) -> Packing | None:
    """How a file with these first bytes is packed."""
    return next((packing for magic, packing in _MAGIC if head.startswith(magic)), None)


class Unpacked:
    """What a packed file holds."""

    def __init__(self, file: Readable, packing: Packing, name: str, size: int) -> None:
        """*name* and *size* in bytes are the packed file's, for errors and for the bound."""
        self._name = name
        self._most = max(_ALWAYS_BYTES, size * _MOST_TIMES)
        self._left = self._most
        self._damaged: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
        if packing == "gzip":
            self._file: Readable = gzip.GzipFile(fileobj=cast("Any", file), mode="rb")
        else:
            zstd = _zstd(name)
            self._damaged = (*self._damaged, zstd.ZstdError)
            self._file = zstd.ZstdFile(io.BufferedReader(cast("Any", _Raw(file))))

    def read(self, size: int = -1, /) -> bytes:
        """Raises `ManifestError` for a file that is damaged, or becomes too much."""
        try:
            block = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        except self._damaged as exc:
            raise ManifestError(
                f"{self._name} is packed and damaged, or not complete: {exc}"
            ) from None
        self._left -= len(block)
        if self._left < 0:
            raise ManifestError(
                f"{self._name} becomes more than {self._most // 2**20:,} MiB when it is unpacked;"
                " if that is meant, unpack it first"
            )
        return block


class _Raw(io.RawIOBase):
    """What the zstd reader wants to read from."""

    def __init__(self, file: Readable) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _zstd(name: str) -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise ManifestError(
            f"{name} is packed by zstd; pip install 'fluxbatch-engine[zstd]', or unpack it"
            " (zstd -d)"
        ) from None
    return zstd
