"""The pictures of a live page: images as they are stored, and small copies made when first seen.

Owns where the copies are kept: in the user's cache, named by content, so that serving writes
nothing into a dataset.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import platformdirs

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import LiveImage
from fluxbatch.report.thumbnails import ThumbnailRequest, Thumbnails

_AT_ONCE = 2
"""Copies made side by side: the run beside us needs the cores."""
_MOST_BYTES = 100 * 1024 * 1024


class LivePictures:
    """Opens what the ledger names, and nothing else."""

    def __init__(self, folder: Folder, db: Database, thumbs: Thumbnails, root: Path) -> None:
        self._stored = open_images(folder, db)
        self._controls = ControlFiles(self._stored, folder.is_shared)
        self._thumbs = thumbs
        self._root = root
        self._making = anyio.CapacityLimiter(_AT_ONCE)

    async def thumb(self, image: LiveImage) -> Path | None:
        """The small copy; None where the image cannot be read."""
        opened = partial(self._stored.open, image.path)
        return await self._made(ThumbnailRequest(opened, image.sha256))

    async def control(self, image: LiveImage) -> Path | None:
        """The small copy of its control image; None where there is none, or it is another now."""
        path, sha256 = image.control_path, image.control_sha256
        if path is None or sha256 is None:
            return None
        opened = partial(self._controls.open, path, sha256)
        return await self._made(ThumbnailRequest(opened, sha256, must_match=True))

    async def whole(self, image: LiveImage) -> bytes | None:
        """The image as it is stored; None where it cannot be read."""

        def read() -> bytes | None:
            try:
                with self._stored.open(image.path) as file:
                    return file.read(_MOST_BYTES)
            except OSError:
                return None

        return await anyio.to_thread.run_sync(read, limiter=self._making)

    async def _made(self, wanted: ThumbnailRequest) -> Path | None:
        await anyio.to_thread.run_sync(self._thumbs.make, [wanted], limiter=self._making)
        url = self._thumbs.url(wanted.sha256)
        return None if url is None else self._root / url.removeprefix("thumbs/")


def thumbs_folder() -> Path:
    """Where copies are kept for every dataset of this user."""
    root = platformdirs.user_cache_path("fluxbatch") / "thumbs"
    root.mkdir(parents=True, exist_ok=True)
    return root
