"""The batched writing of downloads into verified, durable files, many in one thread call.

Owns the grouping: downloads that end together share a thread, and files of one folder
share its fsync. A batch returns when every file of it is durable; one bad image or one
full disk fails its own item only. Knows nothing of URLs.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import anyio

from fluxbatch.config.settings import SinkSettings
from fluxbatch.domain.provenance import (
    Delivered,
    Provenance,
    as_embedded,
    as_sidecar,
    image_metadata,
)
from fluxbatch.errors import SinkError
from fluxbatch.infra.encodings import readings
from fluxbatch.infra.redaction import sanitize
from fluxbatch.infra.runtime import Runtime, Timestamp, ToThread
from fluxbatch.sink.metadata import embedded, has_credentials
from fluxbatch.sink.quality import ImageQuality
from fluxbatch.sink.store import ImageStore, PendingFile
from fluxbatch.sink.temp_file import TempFile, WrittenFile
from fluxbatch.sink.verify import (
    InvalidImage,
    NotAnImage,
    TooMuch,
    UnknownKind,
    VerifiedImage,
    verify,
)

_BATCHES_AT_A_TIME = min(max((os.cpu_count() or 1) - 1, 1), 8)
"""At once: decoding uses a core each, and the event loop needs one. (More threads than cores
pass Python's lock around: with two on two cores an image cost 1.3 ms of CPU instead of 0.7.)"""
_GROUP = 32


@dataclass(frozen=True, slots=True)
class Stored:
    """The output is on disk; not yet in the ledger."""

    path: str
    """Relative to the store, with forward slashes."""
    sha256: str
    bytes: int
    """Both as it was delivered."""
    mime: str
    width: int
    height: int
    verify_s: float
    """CPU seconds spent on decoding it."""
    look: ImageQuality
    at: Timestamp
    file_sha256: str | None = None
    """Of the file, where its facts are embedded."""
    is_beside: bool = False
    """Its facts were to be embedded, and are in a sidecar."""
    is_signed: bool = False
    """Its facts were to be embedded, and it was left as it came: it carries content credentials."""


class OutputRef(NamedTuple):
    """Which output of which prediction an arrival is: what it can say of itself."""

    made: Provenance
    number: int


@dataclass(frozen=True, slots=True)
class RejectedOutput:
    """No whole image came; another try may do better."""

    reason: str
    is_other_kind: bool = False
    """It is no image by its nature: no try will do better."""
    is_final: bool = False
    """It would cost too much to decode, and always will."""
    sha256: str | None = None
    """Of the body, where a whole one came: the same again will be no image either."""


class Download:
    """The blocks of one download: the last one in memory, those before it in a temporary file.

    An ordinary image is one block and touches no file before it is verified.
    """

    def __init__(self, store: ImageStore, to_thread: ToThread) -> None:
        self._store = store
        self._to_thread = to_thread
        self._block = b""
        self._half: TempFile | None = None

    async def take(self, block: bytes) -> None:
        if self._block:
            await self._to_thread(self._spill)
        self._block = block

    def verified(self, max_pixels: int, max_bytes: int) -> VerifiedImage:
        """Some reading of all of it is an image, and that is what lands; raises `InvalidImage`.
        Blocks."""
        try:
            if self._half is None:
                return verify(io.BytesIO(self._block), max_pixels=max_pixels)
            return verify(self._spill().written(), max_pixels=max_pixels)
        except UnknownKind as exc:
            unknown = exc
        for reading in readings(self.content(), max_bytes):
            with suppress(InvalidImage):
                seen = verify(io.BytesIO(reading), max_pixels=max_pixels)
                self.replace(reading)
                return seen
        raise unknown

    def content(self) -> bytes:
        """All of it. Blocks."""
        return self._block if self._half is None else self._half.written().read()

    def replace(self, content: bytes) -> None:
        """Land as *content* instead of what came. Blocks."""
        half, self._half, self._block = self._half, None, content
        if half is not None:
            half.discard()

    def landing(self, stem: str, extension: str) -> PendingFile:
        """What is verified, for the store to keep; what it does not keep is `leave`'s to remove.
        Blocks."""
        half = self._spill() if self._half is None else self._half
        return PendingFile(half, stem, extension)

    def landed(self) -> None:
        """The store has kept it: there is nothing to leave."""
        self._half = None

    async def discard(self) -> None:
        """Remove what did not land, even when cancelled."""
        if (half := self._half) is not None:
            with anyio.CancelScope(shield=True):
                await self._to_thread(half.discard)

    def _spill(self) -> TempFile:
        if self._half is None:
            self._half = self._store.begin()
        self._half.write(self._block)
        self._block = b""
        return self._half


class _Item:
    __slots__ = (
        "arrival", "asked", "at", "called", "delivered", "ended", "in_hand", "is_beside",
        "is_signed", "outcome", "seen", "stem",
    )  # fmt: skip

    def __init__(
        self, arrival: Download, stem: str, asked: OutputRef | None, at: Timestamp
    ) -> None:
        self.arrival = arrival
        self.stem = stem
        self.asked = asked
        self.at = at
        self.delivered: Delivered | None = None
        """Where it lands as something else."""
        self.is_beside = self.is_signed = False
        self.seen: VerifiedImage | None = None
        self.outcome: WrittenFile | RejectedOutput | SinkError | None = None
        self.in_hand = False
        """Being written by a batch."""
        self.ended = False
        self.called = anyio.Event()
        """It has its outcome, or is to lead the next batch."""

    def call(self) -> None:
        self.called.set()
        self.called = anyio.Event()


class BatchWriter:
    """The writer of one store. A caller that finds a batch free leads it for all that wait."""

    def __init__(self, store: ImageStore, runtime: Runtime, settings: SinkSettings) -> None:
        self._store = store
        self._to_thread = runtime.to_thread
        self._clock = runtime.clock
        self._settings = settings
        self._waiting: deque[_Item] = deque()
        self._free = _BATCHES_AT_A_TIME

    async def write(
        self, arrival: Download, stem: str, asked: OutputRef | None = None
    ) -> Stored | RejectedOutput:
        """Verify *arrival* and store it under *stem*, with what it says of itself where *asked*;
        raises `SinkError` when the disk fails."""
        item = _Item(arrival, stem, asked, self._clock.now())
        self._waiting.append(item)
        try:
            while not item.ended:
                called = item.called
                if self._free and not item.in_hand:
                    await self._run_batch(item)
                else:
                    await called.wait()
        finally:
            await self._withdraw(item)
        return _result(item)

    async def _withdraw(self, item: _Item) -> None:
        """A caller that is cancelled leaves when nobody touches its file any more."""
        while item.in_hand:
            with anyio.CancelScope(shield=True):
                await item.called.wait()
        if item in self._waiting:
            self._waiting.remove(item)

    async def _run_batch(self, leader: _Item) -> None:
        size = min(-(-len(self._waiting) // self._free), _GROUP)
        group = [self._waiting.popleft() for _ in range(size)]
        self._free -= 1
        for item in group:
            item.in_hand = True
        try:
            await self._to_thread(partial(self._write_group, group))
        except BaseException:
            # The leader was cancelled before the batch began: another caller leads it.
            self._waiting.extendleft(item for item in reversed(group) if item is not leader)
            raise
        else:
            for item in group:
                item.ended = True
        finally:
            self._free += 1
            for item in group:
                item.in_hand = False
                item.call()
            if self._waiting:
                self._waiting[0].call()

    def _write_group(self, group: Sequence[_Item]) -> None:
        """Verify all, then have all that are whole kept together. Blocks."""
        whole: list[tuple[_Item, PendingFile]] = []
        for item in group:
            try:
                limits = self._settings.max_pixels, self._settings.max_bytes
                item.seen = item.arrival.verified(*limits)
                whole.append((item, self._landing(item, item.seen)))
            except InvalidImage as exc:
                digest = sha256(item.arrival.content()).hexdigest()
                item.outcome = RejectedOutput(
                    sanitize(str(exc)),
                    isinstance(exc, NotAnImage),
                    isinstance(exc, TooMuch),
                    digest,
                )
            except SinkError as exc:
                item.outcome = exc
        kept = self._store.keep([landing for _, landing in whole])
        for (item, _), outcome in zip(whole, kept, strict=True):
            item.outcome = outcome
            if isinstance(outcome, WrittenFile):
                item.arrival.landed()

    def _landing(self, item: _Item, seen: VerifiedImage) -> PendingFile:
        """The verified image with what it says of itself: within it, beside it or not at all."""
        arrival, extension = item.arrival, seen.kind.extension
        if item.asked is not None and self._settings.embed:
            content = arrival.content()
            delivered = _delivered(item, seen, sha256(content).hexdigest(), len(content))
            facts = as_embedded(image_metadata(*item.asked, delivered))
            if (whole := embedded(content, facts)) is not None:
                item.delivered = delivered
                arrival.replace(whole)
                return arrival.landing(item.stem, extension)
            item.is_signed = has_credentials(content)
            item.is_beside = self._settings.sidecar
        landing = arrival.landing(item.stem, extension)
        if item.asked is None or not self._settings.sidecar:
            return landing
        delivered = _delivered(item, seen, landing.half.sha256, landing.half.size)
        return landing._replace(sidecar=as_sidecar(image_metadata(*item.asked, delivered)))


def _delivered(item: _Item, seen: VerifiedImage, digest: str, size: int) -> Delivered:
    at = item.at.utc.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return Delivered(digest, size, seen.kind.mime, seen.width, seen.height, at)


def _result(item: _Item) -> Stored | RejectedOutput:
    outcome, seen, as_came = item.outcome, item.seen, item.delivered
    if isinstance(outcome, SinkError):
        raise outcome
    if isinstance(outcome, RejectedOutput):
        return outcome
    assert outcome is not None
    assert seen is not None
    return Stored(
        path=outcome.path,
        sha256=outcome.sha256 if as_came is None else as_came.sha256,
        bytes=outcome.bytes if as_came is None else as_came.bytes,
        mime=seen.kind.mime,
        width=seen.width,
        height=seen.height,
        verify_s=seen.verify_s,
        look=seen.look,
        at=item.at,
        file_sha256=None if as_came is None else outcome.sha256,
        is_beside=item.is_beside,
        is_signed=item.is_signed,
    )
