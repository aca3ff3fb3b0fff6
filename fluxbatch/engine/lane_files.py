"""The lane files of a run's accounts, locked while the run lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, HeldElsewhere
from fluxbatch.events import Events, Noticed
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.scheduler.lane_state_file import LaneFile, creates_at
from fluxbatch.scheduler.state_folder import lanes_folder

_LANE_POLL_S = 0.5


def refuse_forgotten_creates(folder: Folder, place: Path | None) -> None:
    """Raise `ConfigError` where a dataset's ledger is gone, and its creates of the last day are
    still known to the lanes' files: they would be bought again.

    A folder that was removed as a whole is begun anew.
    """
    if (what := folder.lost_ledger()) is None or not folder.was_in_use():
        return
    if count := creates_at(folder.name, place or lanes_folder(folder.root)[0]):
        raise ConfigError(
            f"the ledger of {str(folder.root)!r} is {what}, and this machine knows of {count:,}"
            " creates of it: their jobs would be bought again. Put the ledger back from a copy."
            " There is no image that could tell what they made; to buy them again, name another"
            " folder or remove this one"
        )


class LaneFiles:
    """The files of one run, by account; what it takes it holds until the run ends."""

    def __init__(self, dataset: str, where: str, place: Path, stack: ExitStack) -> None:
        """*dataset* is the ledger's own name, *where* what other processes are told."""
        self._dataset, self._where, self._place = dataset, where, place
        self._stack = stack
        self.held: dict[str, LaneFile] = {}

    def take(self, account: str) -> LaneFile:
        """Lock one more; raise `HeldElsewhere`. Blocks."""
        file = LaneFile(account, self._dataset, self._where, self._place)
        self._stack.callback(file.close)
        self.held[account] = file
        return file


@asynccontextmanager
async def lane_files(
    keys: Sequence[ApiKey],
    folder: Folder,
    db: Database,
    place: Path | None,
    no_wait: bool,
    events: Events,
) -> AsyncIterator[LaneFiles]:
    """The files of every account that is free, locked; waits until there is one.

    Raises `HeldElsewhere` where *no_wait* forbids waiting.
    """
    with ExitStack() as stack:
        told = False
        if place is None:
            place, elsewhere = lanes_folder(folder.root)
            if elsewhere:
                events.emit(Noticed(elsewhere))
        files = LaneFiles(dataset_id(db), folder.name, place, stack)
        while busy := _take_free(files, keys):
            first = next(iter(busy.values()))
            if no_wait:
                raise first
            if files.held:
                labels = ", ".join(repr(key.label) for key in keys if key.account in busy)
                events.emit(Noticed(f"this run goes on without {labels}: {first}"))
                break
            if not told:
                events.emit(Noticed(f"{first}; waiting for it"))
                told = True
            await anyio.sleep(_LANE_POLL_S)
        yield files


def _take_free(files: LaneFiles, keys: Sequence[ApiKey]) -> dict[str, HeldElsewhere]:
    """By account: why another was not taken."""
    busy = {}
    for account in dict.fromkeys(key.account for key in keys):
        try:
            files.take(account)
        except HeldElsewhere as exc:
            busy[account] = exc
    return busy
