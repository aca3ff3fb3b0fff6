"""The reason why a run creates nothing, as another process sees it: whose creates hold its slots.

Reads the lanes' files, which others may hold, and changes nothing.
"""

from __future__ import annotations

from pydantic import BaseModel

from fluxbatch.config.endpoints import Provider
from fluxbatch.config.settings import Limits
from fluxbatch.config.types import Cap
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import JobState
from fluxbatch.ledger.queries.live_run import WatchedRun
from fluxbatch.ledger.queries.totals import JobCounts
from fluxbatch.scheduler.lane_state_file import kept_on_lanes_of
from fluxbatch.scheduler.slot_holders import holders_words, kept_holder
from fluxbatch.scheduler.state_folder import lanes_folder


class Shaped(BaseModel):
    """The part of a run's settings that a watcher needs."""

    limits: Limits = Limits()
    provider: Provider = Provider()
    price: Cap = None
    """Of one prediction, in micro-dollars, where the user has said it."""


def shaped(run: WatchedRun) -> Shaped:
    return Shaped.model_validate_json(run.settings_json)


def waits_of(folder: Folder, run: WatchedRun, jobs: JobCounts) -> str:
    """Which slots of its lanes other datasets hold; empty where no job waits for one."""
    if not jobs.of(JobState.PENDING) or run.reason:
        return ""
    told = shaped(run)
    kept = kept_on_lanes_of(folder.name, lanes_folder(folder.root)[0])
    holders = [kept_holder(one, None, told.provider.deadline) for one in kept]
    return holders_words(told.limits.concurrent, holders)
