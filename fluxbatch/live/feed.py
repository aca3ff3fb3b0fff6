"""The feed of a live page: one look at the ledger for all who watch.

Owns when the ledger is looked at. Its revision (one read from the end of an index) is compared
twice a second while anybody watches; the figures are summed only where it has grown, and then not
again for twenty times as long as that took, so that watching stays under a twentieth of a core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import anyio

from fluxbatch.dataset.ratings import RatingFile
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import ledger_revision
from fluxbatch.ledger.reader import LedgerReader

_LOOK_S = 0.5
_SHARE = 20


class LiveFeed:
    """The latest figures as a text of JSON, and a way to wait for newer ones."""

    def __init__(
        self,
        read: LedgerReader,
        figures: Callable[[Database], dict[str, Any]],
        ratings: RatingFile | None,
    ) -> None:
        self._read = read
        self._figures = figures
        self._ratings = ratings
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self._watchers = 0
        self.version = 0
        """Grows with every change; 0: nothing was read yet."""
        self.text = ""

    def __enter__(self) -> LiveFeed:
        """Watch: it is read only while somebody does."""
        self._watchers += 1
        self._wanted.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._watchers -= 1

    async def newer(self, version: int) -> int:
        """Return once there is something newer than *version*."""
        while self.version <= version:
            await self._changed.wait()
        return self.version

    async def run(self) -> None:
        """Look until cancelled."""
        seen: tuple[int, int] | None = None
        while True:
            if not self._watchers:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            rated = self._ratings.revision if self._ratings is not None else 0
            now = (await self._read(ledger_revision), rated)
            took_s = 0.0
            if now != seen:
                began_s = time.monotonic()
                figures = await self._read(self._figures)
                took_s = time.monotonic() - began_s
                self._tell({**figures, "revision": now[0], "ratings": now[1]})
                seen = now
            await anyio.sleep(max(_LOOK_S, took_s * _SHARE))

    def _tell(self, figures: dict[str, Any]) -> None:
        self.text = json.dumps(figures, ensure_ascii=True, separators=(",", ":"))
        self.version += 1
        told, self._changed = self._changed, anyio.Event()
        told.set()
