"""One output from its URL to a verified, durable file: fetch, verify, name, store.

Owns the order of these steps. One call is one try and says how it ended; how often to try, and
with which URL, is the caller's business. Only a disk that cannot be written raises.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import anyio

from fluxbatch.config import Sink as SinkSettings
from fluxbatch.seams import Blocking, Seams
from fluxbatch.sink.fetch import Fetcher, Gone, Unfetched
from fluxbatch.sink.image import NoImage, verdict
from fluxbatch.sink.store import HalfFile, LocalStore, check_stem
from fluxbatch.sink.wording import tidied


@dataclass(frozen=True, slots=True)
class Stored:
    """The output is on disk; not yet in the ledger."""

    path: str
    """Relative to the dataset, with forward slashes."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    verify_s: float
    """CPU seconds spent on decoding it."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The URL is no longer good: read the prediction again for a fresh one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """No whole image came; another try may do better."""

    reason: str


class Sink:
    """Borrows its parts."""

    def __init__(
        self, store: LocalStore, fetcher: Fetcher, settings: SinkSettings, seams: Seams
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._settings = settings
        self._seams = seams

    async def store(self, url: str, stem: str) -> Stored | Expired | Broken:
        """Download *url* to `images/<stem>.<what it is>`, replacing a file of that name.

        A file that a crash left there without its ledger entry is simply fetched again. Raises
        `SinkError` when the disk fails, `ValueError` for a stem that is no plain relative name.
        """
        check_stem(stem)
        arrival = _Arrival(self._store, self._seams.blocking)
        try:
            await self._fetcher.fetch(url, arrival.take)
            return await self._seams.blocking(
                lambda: arrival.settle(stem, max_pixels=self._settings.max_pixels)
            )
        except Gone as exc:
            return Expired(str(exc))
        except Unfetched as exc:
            return Broken(str(exc))
        finally:
            await arrival.leave()


class _Arrival:
    """The blocks of one download: the last one in memory, those before it in a temporary file.

    An ordinary image is one block and never more than one blocking call.
    """

    def __init__(self, store: LocalStore, blocking: Blocking) -> None:
        self._store = store
        self._blocking = blocking
        self._block = b""
        self._half: HalfFile | None = None

    async def take(self, block: bytes) -> None:
        if self._block:
            await self._blocking(self._spill)
        self._block = block

    def settle(self, stem: str, *, max_pixels: int) -> Stored | Broken:
        """Verify, then make durable. Blocks."""
        try:
            if self._half is None:
                seen = verdict(io.BytesIO(self._block), max_pixels=max_pixels)
                half = self._spill()
            else:
                half = self._spill()
                seen = verdict(half.written(), max_pixels=max_pixels)
        except NoImage as exc:
            return Broken(tidied(str(exc)))
        written = half.commit(stem, seen.kind.extension)
        self._half = None
        return Stored(
            path=written.path,
            sha256=written.sha256,
            bytes=written.bytes,
            mime=seen.kind.mime,
            width=seen.width,
            height=seen.height,
            verify_s=seen.verify_s,
        )

    async def leave(self) -> None:
        """Remove what was not committed, even when cancelled."""
        if (half := self._half) is not None:
            with anyio.CancelScope(shield=True):
                await self._blocking(half.discard)

    def _spill(self) -> HalfFile:
        if self._half is None:
            self._half = self._store.begin()
        self._half.write(self._block)
        self._block = b""
        return self._half
