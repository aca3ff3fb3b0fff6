"""The feed of a live page: one look at the ledger for all who watch.

Owns when the ledger is looked at. Its revision (one read from the end of an index) is compared
twice a second while anybody watches, and told where it has grown: the page then asks for what it
shows. The figures are summed only then, and every few seconds of a run at work (its time left and
its end are no line of history). Then they rest for forty times as long as that took, so that
watching stays under a twentieth of a core, with all else that a page asks for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import anyio

from fluxbatch.dataset.rating_store import Ratings
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import ledger_revision
from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.live.place import DatasetPlace

_LOOK_S = 0.5
_AT_WORK_S = 3.0
_SHARE = 40


class LiveFeed:
    """The latest figures and revision, each as a text of JSON, and a way to wait for newer ones."""

    def __init__(
        self,
        read: LedgerReader,
        figures: Callable[[Database], dict[str, Any]],
        ratings: Ratings,
        place: DatasetPlace,
    ) -> None:
        self._read = read
        self._figures = figures
        self._ratings = ratings
        self._place = place
        self._lost: str | None = None
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self._watchers = 0
        self.version = 0
        """Grows with every text; 0: nothing was read yet."""
        self._texts: dict[str, tuple[int, str]] = {}
        """The latest of each event, with its version."""

    def __enter__(self) -> LiveFeed:
        """Watch: it is read only while somebody does."""
        self._watchers += 1
        self._wanted.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._watchers -= 1

    async def newer(self, version: int) -> tuple[int, list[tuple[str, str]]]:
        """The version of now, and (event, text) of what is newer than *version*, once there is."""
        while self.version <= version:
            await self._changed.wait()
        newer = [(name, text) for name, (since, text) in self._texts.items() if since > version]
        return self.version, newer

    async def run(self) -> None:
        """Look until cancelled."""
        told: tuple[int, int] | None = None
        summed: tuple[int, int] | None = None
        is_at_work = False
        rests_until_s = looks_again_s = 0.0
        while True:
            if not self._watchers:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            if await self._is_lost():
                told = summed = None
                await anyio.sleep(_LOOK_S)
                continue
            now = (await self._read(ledger_revision), await self._read(self._ratings.revision))
            if now != told:
                self._tell("changed", {"revision": now[0], "ratings": now[1]})
                told = now
            began_s = time.monotonic()
            is_due = now != summed or (is_at_work and began_s >= looks_again_s)
            if is_due and began_s >= rests_until_s:
                figures = await self._read(self._figures)
                self._tell("now", figures)
                summed, is_at_work, ended_s = now, figures["at_work"], time.monotonic()
                rests_until_s = ended_s + _SHARE * (ended_s - began_s)
                looks_again_s = ended_s + _AT_WORK_S
            await anyio.sleep(_LOOK_S)

    async def _is_lost(self) -> bool:
        """Whether the dataset is not where it was; told when it goes, and when it is back."""
        lost = await self._read(lambda _: self._place.lost())
        if lost != self._lost:
            self._lost = lost
            self._tell("place", {"lost": lost})
        return lost is not None

    def _tell(self, event: str, told: dict[str, Any]) -> None:
        self.version += 1
        text = json.dumps(told, ensure_ascii=True, separators=(",", ":"))
        self._texts[event] = self.version, text
        waiting, self._changed = self._changed, anyio.Event()
        waiting.set()
