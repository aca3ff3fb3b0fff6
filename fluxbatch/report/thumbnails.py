"""Thumbnails: small webp copies, made once, named by the content they show.

Owns their size and their names. Made in a few threads (Pillow lets go of Python's lock for a part
of its work), as many at a time as one page of the ledger has, or by a pool of processes. An image
that cannot be read has no thumbnail, and the page says so.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self, TypeVar

from PIL import Image, ImageOps

from fluxbatch.infra.atomic_file import atomic_file
from fluxbatch.shards.pool import INLINE, ShardPool, map_shards
from fluxbatch.sink.temp_file import disk_errors
from fluxbatch.sink.verify import InvalidImage, sniffed

_SIDE = 384
_QUALITY = 74
_MOST_PIXELS = 100_000_000
_HEAD_BYTES = 32
_NAME_CHARS = 24
_BLOCK_BYTES = 1024 * 1024
_AT_ONCE = 100
"""Of one shard: half a second's work."""
_BLOCKS = 8
"""Of Pillow's memory that are kept for the next image: given back each time, they were a quarter of
the work (measured, images of 512 px: 4 ms of the system's own for each)."""

_P = TypeVar("_P")


class ThumbnailRequest(NamedTuple):
    """A picture to be shown small."""

    open: Callable[[], IO[bytes]]
    """Raises `OSError` where it cannot be read."""
    sha256: str
    must_match: bool = False
    """Whether the file may have changed since it was hashed: a control image is the user's."""


class _Drawing(NamedTuple):
    """Thumbnails to be made below *root*."""

    root: Path
    wanted: tuple[ThumbnailRequest, ...]


class Thumbnails:
    """The thumbnails of one report."""

    def __init__(self, root: Path, pool: ShardPool = INLINE) -> None:
        _keep_blocks()
        self._root = root
        self._shards = pool
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "thumbs")
        self._known: dict[str, bool] = {}
        self.made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def make(self, wanted: Iterable[ThumbnailRequest]) -> None:
        """Have them all, as far as they can be read. Raises `SinkError` when the disk fails."""
        new = {one.sha256: one for one in wanted if one.sha256 not in self._known}
        self._learn(new, self._pool.map(partial(_drawn, self._root), new.values()))

    def made_along(
        self, pages: Iterable[_P], wanted: Callable[[_P], Iterable[ThumbnailRequest]]
    ) -> Generator[_P]:
        """*pages* again, each once those that it wants are there, as far as they can be read.

        Raises `SinkError` when the disk fails.
        """
        if self._shards.is_inline:
            for page in pages:
                self.make(wanted(page))
                yield page
            return
        asked: deque[tuple[_Drawing, _P, bool]] = deque()

        def drawings() -> Iterator[_Drawing]:
            seen = set[str]()
            for page in pages:
                new = {one.sha256: one for one in wanted(page) if one.sha256 not in seen}
                seen |= new.keys()
                all_of_it = tuple(new.values())
                for start in range(0, max(len(all_of_it), 1), _AT_ONCE):
                    part = _Drawing(self._root, all_of_it[start : start + _AT_ONCE])
                    asked.append((part, page, start + _AT_ONCE >= len(all_of_it)))
                    yield part

        with closing(map_shards(self._shards, _draw, drawings())) as outcomes:
            for outcome in outcomes:
                part, page, is_last = asked.popleft()
                self._learn([one.sha256 for one in part.wanted], outcome)
                if is_last:
                    yield page

    def _learn(self, names: Iterable[str], outcomes: Iterable[bool | None]) -> None:
        for sha256, made in zip(names, outcomes, strict=True):
            self._known[sha256] = made is not None
            self.made += made is True

    def url(self, sha256: str | None) -> str | None:
        """Relative to the page; None where there is none."""
        if sha256 is None or not self._known.get(sha256, False):
            return None
        return f"thumbs/{_name(sha256)}"

    def prune(self) -> None:
        """Remove those of images the dataset no longer shows."""
        named = {_name(sha256) for sha256, there in self._known.items() if there}
        for file in self._root.glob("*/*"):
            if file.relative_to(self._root).as_posix() not in named:
                file.unlink(missing_ok=True)


def _keep_blocks() -> None:
    Image.core.set_blocks_max(_BLOCKS)  # type: ignore[attr-defined]  # documented all the same


def _draw(drawing: _Drawing) -> list[bool | None]:
    """In whatever process."""
    _keep_blocks()
    return [_drawn(drawing.root, one) for one in drawing.wanted]


def _drawn(root: Path, wanted: ThumbnailRequest) -> bool | None:
    """Whether it was made just now; None: it cannot be."""
    path = root / _name(wanted.sha256)
    if path.exists():
        return False
    try:
        if wanted.must_match and _sha256(wanted.open) != wanted.sha256:
            return None
        content = wanted.open()
    except OSError:
        return None
    try:
        with content, disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path.parent) as file:
                file.write(small_copy(content))
                file.commit(path, sync=False)
    except InvalidImage:
        return None
    return True


def small_copy(content: IO[bytes], side: int = _SIDE) -> bytes:
    """A webp of at most *side* pixels either way; raises `InvalidImage` where it cannot be read."""
    kind = sniffed(content.read(_HEAD_BYTES))
    content.seek(0)
    try:
        with kind.reader(content) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise InvalidImage("too large")
            image.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(image)
            mode = "RGBA" if upright.has_transparency_data else "RGB"
            upright = upright.convert(mode)
            upright.thumbnail((side, side), reducing_gap=2.0)
    except InvalidImage:
        raise
    except Exception as exc:  # Pillow raises whatever a format's parser raises
        raise InvalidImage(str(exc)) from exc
    # Photos take 9 ms by method 3, and have 4 % fewer bytes than by method 2, which takes 4 ms.
    upright.save(out := BytesIO(), "WEBP", quality=_QUALITY, method=2)
    return out.getvalue()


def _name(sha256: str) -> str:
    plain = sha256 if sha256.isalnum() else hashlib.sha256(sha256.encode()).hexdigest()
    return f"{plain[:2]}/{plain[:_NAME_CHARS]}.webp"


def _sha256(opened: Callable[[], IO[bytes]]) -> str:
    digest = hashlib.sha256()
    with opened() as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
