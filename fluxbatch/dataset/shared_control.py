"""The control of a run that several processes share: one command, written into its ledger.

Owns what a command means there. A change, its line of history and what depends on it are one
transaction in the dataset's turn, so that two who ask at once follow each other. The answer waits
until each worker has done it, or no create that was intended before can leave any more.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.domain.control import (
    asked_budget,
    asked_lane,
    asked_limit,
    because,
)
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.operations.control import ChangeCap, RecordChange
from fluxbatch.ledger.queries.live_run import watched_run
from fluxbatch.ledger.sharing.run_controls import (
    Obedience,
    RunControls,
    obedience,
    read_controls,
    write_controls,
)
from fluxbatch.ledger.sharing.server_clock import read_server_time
from fluxbatch.ledger.sharing.shared_runs import stop_run, stopped
from fluxbatch.ledger.sharing.side_connection import SideConnection

_PATIENCE_S = 6.0
"""Longer than a create may leave after its intent (docs/design/protocol.md 3.1): with it, a pause
holds also for a process that does not answer."""
_LOOK_EVERY_S = 0.05
_ELSEWHERE = "elsewhere"
"""The health of a lane that another worker has, or nobody."""


class _AtWork(NamedTuple):
    """A run that at least one worker has."""

    seq: int
    run_id: str
    controls: RunControls
    cap: Micros | None
    stopping: str
    workers: Sequence[Obedience]

    @property
    def lanes(self) -> list[dict[str, Any]]:
        """One for each account, as the worker tells it that has it."""
        found = dict[str, dict[str, Any]]()
        for worker in self.workers:
            for lane in worker.lanes:
                was = found.get(lane["account"])
                if was is None or was["health"] == _ELSEWHERE:
                    found[lane["account"]] = lane
        return sorted(found.values(), key=lambda lane: str(lane["label"]))


class _Request(NamedTuple):
    """One command."""

    command: str
    value: str
    reason: str

    def told(self, change: str) -> str:
        return f"{change} by fluxbatch ctl{because(self.reason)}"


def control_shared_run(
    dataset: SharedDataset, command: str, value: str, *, reason: str, dry_run: bool
) -> dict[str, Any]:
    """What came of it; blocks. Raises `ConfigError` where no run is at work there, or it is not
    understood."""
    request = _Request(command, value, reason)
    with dataset.reader() as db:  # first: who writes may migrate a ledger that nobody works on
        run = db.at_one_moment(lambda db: _at_work(db, dataset))
        if command == "show" or dry_run:
            changed = command != "show" and _change(run, request) is not None
            return {"changed": changed, **_shown(run)}
    with closing(dataset.writer()) as db:
        side = SideConnection(db)
        changed, run = side.transaction(lambda db: _changed(db, dataset, request), in_turn=True)
        _wait_for(side, run)
        with dataset.reader() as reader:
            workers = obedience(reader, run.seq)
            stop = stopped(reader, run.seq)
    run = run._replace(workers=workers, stopping=stop[1] if stop is not None else "")
    return {"changed": changed, **_shown(run)}


def _at_work(db: Database, dataset: SharedDataset) -> _AtWork:
    workers, run = obedience(db), watched_run(db)
    workers = [one for one in workers if run is not None and one.worker.run_seq == run.seq]
    if run is None or not workers:
        raise ConfigError(f"no run is at work in {dataset.address!r}")
    line = next((one for one in read_lines(db, run.run_id, "") if one.scope == "run"), None)
    stop = stopped(db, run.seq)
    return _AtWork(
        run.seq,
        run.run_id,
        read_controls(db, run.seq),
        line.cap if line is not None else None,
        stop[1] if stop is not None else "",
        workers,
    )


def _changed(db: Database, dataset: SharedDataset, request: _Request) -> tuple[bool, _AtWork]:
    """Within a transaction, in the dataset's turn; answers the run as it is then."""
    run = _at_work(db, dataset)
    change = _change(run, request)
    if change is None:
        return False, run
    words, controls = change
    now = read_server_time(db)
    at = Timestamp(datetime.fromtimestamp(now.now_s, UTC), now.boot_id, now.now_s - now.began_s)
    if controls.cap != run.controls.cap and controls.cap is not None:
        ChangeCap(at, run.seq, run.run_id, controls.cap, words, request.reason).apply(db)
    else:
        RecordChange(at, run.seq, words, request.reason).apply(db)
    controls = controls._replace(latest=request.told(words))
    if request.command == "stop":
        stop_run(db, run.seq, ExitCode.STOPPED, controls.latest)
    number = write_controls(db, run.seq, controls)
    cap = run.cap if controls.cap is None else controls.cap
    return True, run._replace(controls=controls._replace(number=number), cap=cap)


def _change(run: _AtWork, request: _Request) -> tuple[str, RunControls] | None:
    """The words of a change and what holds from then on; None where it is so already."""
    now, command, value = run.controls, request.command, request.value
    if command == "pause":
        return ("paused", now._replace(paused=request.reason)) if now.paused is None else None
    if command == "resume":
        return ("resumed", now._replace(paused=None)) if now.paused is not None else None
    if command == "stop":
        return ("stopped", now) if not run.stopping else None
    if command == "budget":
        cap = asked_budget(value)
        return (f"budget {dollars(cap)}", now._replace(cap=cap)) if cap != run.cap else None
    if command == "lane":
        return _lane_change(run, value)
    if command in {"limits.creates", "limits.slots"}:
        most, name = asked_limit(command, value), command.removeprefix("limits.")
        asked = now.creates if name == "creates" else now.slots
        there = {asked} if asked is not None else {lane[name] for lane in run.lanes}
        after = now._replace(creates=most) if name == "creates" else now._replace(slots=most)
        return (f"{command} {most}", after) if there != {most} else None
    raise ConfigError(f"{command!r} is no command")


def _lane_change(run: _AtWork, value: str) -> tuple[str, RunControls] | None:
    label, is_off = asked_lane(value, {lane["label"] for lane in run.lanes})
    # The same key may be called otherwise on another machine.
    told = [lane for worker in run.workers for lane in worker.lanes]
    accounts = {lane["account"] for lane in told if lane["label"] == label}
    before = run.controls.lanes_off
    after = before | accounts if is_off else before - accounts
    return (f"lane {value}", run.controls._replace(lanes_off=after)) if after != before else None


def _wait_for(side: SideConnection, run: _AtWork) -> None:
    """Until each worker that lives has done it; one that is gone is waited for in vain."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if all(_has_obeyed(one, run) for one in side(lambda db: obedience(db, run.seq))):
            return
        time.sleep(_LOOK_EVERY_S)


def _has_obeyed(one: Obedience, run: _AtWork) -> bool:
    return one.number is not None and one.number >= run.controls.number


def _shown(run: _AtWork) -> dict[str, Any]:
    lanes = [{name: lane[name] for name in lane if name != "account"} for lane in run.lanes]
    return {
        "run_id": run.run_id,
        "paused": run.controls.paused is not None,
        "stopping": run.stopping,
        "budget_usd": as_usd(run.cap) if run.cap is not None else None,
        "workers": [
            {"host": one.worker.host, "pid": one.worker.pid, "obeys": _has_obeyed(one, run)}
            for one in run.workers
        ],
        "lanes": lanes,
    }
