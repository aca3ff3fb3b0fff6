"""The standing of a run at work, as another process sees it: its lanes, and what holds them up.

Owns those reasons: what `fluxbatch ctl` asked for, caps, windows, refused creates, and slots that
other datasets hold. Reads the ledger and the lanes' files, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from shlex import quote

from pydantic import BaseModel

from fluxbatch.config.endpoints import Provider
from fluxbatch.config.settings import Limits
from fluxbatch.config.types import Cap
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.control import because
from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import as_usd
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.history.run_changes import (
    HeldControls,
    RunLine,
    controls_in_force,
)
from fluxbatch.ledger.queries.live_run import (
    LaneTraffic,
    WatchedRun,
    lane_traffic,
    lanes_of_invocation,
    last_create,
    latest_price,
    next_create_in_s,
)
from fluxbatch.ledger.queries.runs_and_failures import latest_balances
from fluxbatch.ledger.queries.totals import JobCounts
from fluxbatch.scheduler.budget import admit
from fluxbatch.scheduler.lane_state_file import kept_on_lanes_of
from fluxbatch.scheduler.slot_holders import holders_words, kept_holder
from fluxbatch.scheduler.state_folder import lanes_folder

_AT_ONCE_S = 1.0
_TRIED_AGAIN = {PredictionEvent.OVER_LIMIT, PredictionEvent.NOT_SENT}
_CAPS = {"run": "per run", "day": "for today", "dataset": "for the dataset"}


class Shaped(BaseModel):
    """The part of a run's settings that a watcher needs."""

    limits: Limits = Limits()
    provider: Provider = Provider()
    price: Cap = None
    """Of one prediction, in micro-dollars, where the user has said it."""


def shaped(run: WatchedRun) -> Shaped:
    return Shaped.model_validate_json(run.settings_json)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane at this moment, with the limits that hold now, as its own run or another process
    sees it."""

    label: str
    slots_held: int
    slots: int
    creates_in_window: int
    creates: int
    """Allowed in the window."""
    window_s: float
    health: str = ""
    """`working`, `slowed`, `paused`, `waits for balance`, `off`, `out`; empty: nobody knows."""
    why: str = ""
    """Why it creates nothing and until when, as another process sees it; empty where its own
    predictions fill it, too. The run's own `waits` tells that."""


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run at this moment: its lanes, and what keeps all of them from creating."""

    lanes: tuple[LaneStatus, ...] = ()
    paused: str = ""
    """`paused by fluxbatch ctl since …`; empty where it is not."""
    held_up: str = ""
    """Whatever else lets nothing leave on any lane."""

    @property
    def reasons(self) -> str:
        """Why nothing leaves, or what leaves nothing on one lane, parted by semicolons."""
        lanes = [f"lane {lane.label} {lane.why}" for lane in self.lanes if lane.why]
        return "; ".join(filter(None, (self.paused, self.held_up, *lanes)))

    @property
    def waits(self) -> str:
        """The same where nothing leaves at all; else empty."""
        is_all = bool(self.lanes) and all(lane.why for lane in self.lanes)
        return self.reasons if self.paused or self.held_up or is_all else ""


def run_standing(
    db: Database, folder: Folder, run: WatchedRun, jobs: JobCounts, now: datetime
) -> RunStanding:
    """How the latest run stands; *now* is in UTC. Of one that has ended, its lanes alone."""
    waits = not run.reason and bool(jobs.of(JobState.PENDING))
    lanes = lane_standings(db, run, now, waits=waits)
    if run.reason:
        return RunStanding(lanes)
    told, held = shaped(run), controls_in_force(db, run.run_id)
    paused = f"paused by fluxbatch ctl {since(held.paused)}" if held.paused is not None else ""
    reasons = [f"stopping by fluxbatch ctl {since(held.stopped)}"] if held.stopped else []
    if waits:
        reasons.append(_no_room(db, run))
        reasons.append(_other_holders(folder, told, held.slots or told.limits.concurrent))
    return RunStanding(lanes, paused, "; ".join(filter(None, reasons)))


def lane_standings(
    db: Database, run: WatchedRun, now: datetime, *, waits: bool
) -> tuple[LaneStatus, ...]:
    """The lanes of the latest run; *waits*: jobs do, so that a lane's reasons matter."""
    limits = shaped(run).limits
    held = controls_in_force(db, run.run_id) if not run.reason else HeldControls()
    most = held.creates or limits.creates, held.slots or limits.concurrent
    traffic = (
        lanes_of_invocation(db, run, now, limits.window)
        if waits
        else lane_traffic(db, now, limits.window)
    )
    lanes = []
    for lane in traffic:
        creates, slots = most
        off = next((label for label in lane.labels if label in held.lanes_off), None)
        health, why = "", ""
        if off is not None:
            health, why = "off", _off_words(off, held.lanes_off[off])
        elif waits:
            health, why = _reason(db, lane, now, limits.window, *most)
        lanes.append(
            LaneStatus(
                off or lane.labels[0], lane.alive, slots, lane.left_lately, creates,
                limits.window, health, why,
            )
        )  # fmt: skip
    there = {label for lane in traffic for label in lane.labels}
    for label, line in held.lanes_off.items():
        if label not in there:  # off before its first create
            why = _off_words(label, line)
            lanes.append(LaneStatus(label, 0, most[1], 0, most[0], limits.window, "off", why))
    return tuple(sorted(lanes, key=lambda lane: lane.label))


def since(line: RunLine) -> str:
    """`since 2026-11-22 12:00 UTC: lunch`, of a change by `fluxbatch ctl`."""
    return f"since {line.at[:16].replace('T', ' ')} UTC{because(line.reason or '')}"


def _off_words(label: str, line: RunLine) -> str:
    return f"is off by fluxbatch ctl {since(line)} (until `lane {quote(label)} on`)"


def _reason(
    db: Database, lane: LaneTraffic, now: datetime, window_s: float, creates: int, slots: int
) -> tuple[str, str]:
    """The lane's health and why it creates nothing; both empty where nothing is in its way."""
    last = last_create(db, lane.last) if lane.last is not None else None
    if last is not None and last.refusal == PredictionEvent.KEY_REFUSED:
        return "out", f"is out for this run: key {last.key_label}: {last.reason}"
    if last is not None and last.refusal == PredictionEvent.UNPAID:
        return "waits for balance", f"waits until one of its predictions settles: {last.reason}"
    if lane.alive >= slots:
        return "", ""  # its own predictions, which end by themselves
    if lane.left_lately >= creates:
        wait_s = next_create_in_s(db, lane, now, window_s, creates)
        if wait_s >= _AT_ONCE_S:
            return "", f"has made {creates} creates in {window_s:g} s, the next in {wait_s:.0f} s"
    if last is not None and last.refusal in _TRIED_AGAIN and last.at is not None:
        sent = f"its create of {last.at:%H:%M:%S} UTC came to nothing"
        return "", f"tries again by itself: {sent} ({last.reason})"
    return "", ""


def _no_room(db: Database, run: WatchedRun) -> str:
    """Which cap has no room for what a create of this run last cost."""
    price = latest_price(db, run)
    line = admit(latest_balances(db, run.run_id), price) if price is not None else None
    if price is None or line is None or line.cap is None:
        return ""
    cap = f"the budget of ${as_usd(line.cap)} {_CAPS[line.scope]}"
    return f"{cap} has no room for another ${as_usd(price)}: what runs may free some"


def _other_holders(folder: Folder, told: Shaped, slots: int) -> str:
    """Which slots of its lanes other datasets hold."""
    kept = kept_on_lanes_of(folder.name, lanes_folder(folder.root)[0])
    holders = [kept_holder(one, None, told.provider.deadline) for one in kept]
    return holders_words(slots, holders)
