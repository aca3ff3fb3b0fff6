"""One plan carried out: processes begin, work, die and begin again on one set of folders.

Owns what is left when a process is gone (folders, lane files, the provider, the clocks)
and what is asked of it at the end: every row has an end, and both sides' books agree.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider, Webhook
from fluxbatch.config.loading import load_settings as _load_settings
from fluxbatch.config.settings import Budget, Inputs, Limits, Reconcile, Settings, SinkSettings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.money import Micros
from fluxbatch.emulator import settings as emulator
from fluxbatch.engine import run
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.session import Network
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.events import Event, Events, OutputStored
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.retry import Retry
from fluxbatch.ledger.writer import commit
from tests.simulation.checks import Auditor, Violation
from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.life import Life
from tests.simulation.pictures import painted_control
from tests.simulation.plan import Invocation, Plan, key_texts
from tests.simulation.provider import BASE_URL, HOOKS_URL
from tests.simulation.provider import Provider as FarSide
from tests.simulation.wire import SimControl, SimFetcher, SimListener, SimTransport
from tests.support.clock import AutojumpLoop, VirtualClock

_TOKEN = re.compile(r"[0-9a-f]{16}(?=\.part)|(?<=/)[0-9a-f]{40}\b")
"""What no seed decides: names of half files, and a webhook key's words."""
_MACHINE = re.compile(rf"{re.escape(socket.gethostname())}(?:-| \(pid ){os.getpid()}\b")
_LAST_TRIES = 4
_KEPT: tuple[dict[str, Any], ...] = (
    {},
    {"path_template": "{prompt}/{seed}"},
    {"embed": True},
    {"path_template": "{job2}/{id}", "sidecar": False},
)
"""Each process is told otherwise than the one before: names were decided by then."""
SHM = Path("/dev/shm")


class Log:
    """What happened, in order; equal seeds give equal digests."""

    def __init__(self, root: str, tell: Callable[[str], None] | None = None) -> None:
        self._root = root
        self._digest = hashlib.sha256()
        self._tell = tell
        self.now: Callable[[], float] = lambda: 0.0
        self.lines = 0

    def note(self, what: str) -> None:
        what = _MACHINE.sub("machine", what.replace(self._root, "<root>"))
        line = f"{self.now():.6f} {_TOKEN.sub('*', what)}"
        self._digest.update(line.encode())
        self.lines += 1
        if self._tell is not None:
            self._tell(line)

    def event(self, event: Event, who: str = "") -> None:
        if isinstance(event, OutputStored):
            event = replace(event, verify_s=0.0)
        self.note(f"{who}{event!r}")

    def digest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended."""

    summary: RunSummary | None = None
    """None: it died, was cancelled, or failed."""
    error: FluxbatchError | None = None

    @property
    def code(self) -> int | None:
        return None if self.summary is None else int(self.summary.exit_code)


class Dataset:
    """A folder with its manifest."""

    def __init__(self, root: Path, rows: Sequence[object], *, derived_seeds: bool) -> None:
        self.folder = Folder(root)
        root.mkdir()
        (root / "ledger.sqlite").write_bytes(migrated_ledger(root.name))
        self.manifest = root.parent / f"{root.name}.jsonl"
        self.manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        self.auditor = Auditor(root, derived_seeds=derived_seeds)


class World:
    """Everything that outlives a process."""

    def __init__(self, plan: Plan, loop: AutojumpLoop, root: Path, log: Log) -> None:
        self._plan = plan
        self.loop = loop
        self.log = log
        self._lanes = root / "lanes"
        self._number = 0
        self.deaths: list[str] = []
        """Where the processes that died did so."""
        log.now = loop.time
        self.clock = VirtualClock(loop, skew_s=plan.skew_s)
        self.provider = FarSide(far_settings(plan), self.clock, self._random("far"), log.note)
        self.provider.slow_chance, self.provider.slow_s = plan.slow_chance, plan.slow_s
        self.provider.kills_stuck_after_s = 3 * plan.deadline_s
        self.provider.spoilt_chance = plan.spoilt_webhooks
        self.disk = Disk(self._random("disk"))
        for number in range(2):
            (root / f"depth-{number}.png").write_bytes(painted_control(number))
        self.datasets = [
            Dataset(root / f"set{number}", rows, derived_seeds=plan.derived_seeds)
            for number, rows in enumerate(plan.rows)
        ]
        self.judge = Judge(plan, self.provider, [one.auditor for one in self.datasets], log.note)

    def _random(self, purpose: str) -> Random:
        return Random(f"{self._plan.seed}/{purpose}")

    async def run(self) -> None:
        """The whole plan, and then in peace to the end."""
        for one in self._plan.invocations:
            await self.invoke(one)
        for number in range(len(self.datasets)):
            await self._finish(number)
        self.judge.verdict()

    def close(self) -> None:
        for dataset in self.datasets:
            dataset.auditor.close()

    async def _finish(self, number: int) -> None:
        """Undisturbed runs end every row."""
        self.provider.slow_chance = 0.0
        for _ in range(_LAST_TRIES):
            outcome = await self.invoke(Invocation(dataset=number, pause_s=5.0, badness=0.0))
            if outcome.code in (ExitCode.DONE, ExitCode.SOME_FAILED):
                return
            if outcome.code == ExitCode.UNKNOWN_LEFT and self.judge.may_stay_unknown(number):
                return
        raise Violation(f"undisturbed runs do not end every row: {outcome}")

    async def invoke(self, one: Invocation) -> Outcome:
        """One process, from its start to its end."""
        await anyio.sleep(one.pause_s)
        self._number += 1
        dataset = self.datasets[one.dataset]
        self.log.note(f"invocation {self._number}: {one}")
        self._prepare(one, dataset)
        life = Life(one.doom, self._random(f"{self._number}/life"), self.log.note, one.slowness)
        self.disk.serve(life)
        life.after_call.append(self.judge.after_call)
        self.judge.on_complaint = life.scope.cancel
        timers = self._timers(one, life)
        self.loop.on_turn = life.turn
        try:
            outcome = await self._run(one, dataset, life)
        finally:
            self.loop.on_turn = None
            for timer in timers:
                timer.cancel()
        self.log.note(f"ended: {outcome.code} {outcome.error!r}")
        if life.dead:
            self.deaths.append(life.died_at)
        if life.dead and one.doom.is_power_cut:
            self._cut_power()
        elif life.dead:
            self.disk.forget()
        self.judge.after_life(one, dataset.auditor, outcome.summary, outcome.error)
        return outcome

    async def _run(self, one: Invocation, dataset: Dataset, life: Life) -> Outcome:
        settings = self._settings(one)
        number = self._number
        network = Network(
            SimTransport(
                life, self.provider, self._random(f"{number}/wire"), settings, one.badness
            ),
            SimFetcher(life, self.provider, self._random(f"{number}/fetch"), settings.sink.timeout),
            self._lanes,
            SimListener(life, self.provider).listen,
            SimControl(one.commands, self.judge.command_sent, self.judge.command_answered).listen,
        )
        runtime = Runtime(self.clock, self._random(f"{number}/engine"), life.to_thread)
        request = RunRequest(
            settings, self._keys(one), dataset.folder, dataset.manifest, limit=one.limit
        )
        summary: RunSummary | None = None
        error: FluxbatchError | None = None
        try:
            with life.scope:
                summary = await run.execute_run(
                    request,
                    Events(self.log.event, self.judge.heard),
                    runtime=runtime,
                    network=network,
                    handle_signals=one.interrupt_at_s is not None,
                )
        except FluxbatchError as exc:
            error = None if life.dead else exc
        except BaseException:
            self.judge.complain()
            if not life.dead:
                raise
        self.judge.complain()
        return Outcome(None if life.dead else summary, error)

    def _prepare(self, one: Invocation, dataset: Dataset) -> None:
        core = self.provider.core
        gone = dict.fromkeys(core.faults.shown(), 0)
        core.faults.merge({**gone, **self._plan.switches, **one.faults})
        core.gate.revoked.clear()
        core.executor.billing.set_balance(None, one.balance)
        self.disk.full_chance = one.full_disk
        self.judge.caps_are(one)
        if one.deletes_lane_files and self._lanes.exists():
            for path in self._lanes.glob("*.sqlite*"):
                path.unlink()
            self.log.note("lane files deleted")
        if one.retry_first:
            self._retry(dataset)

    def _retry(self, dataset: Dataset) -> None:
        self.judge.user_asks_again(dataset.auditor)
        with dataset.folder.lock():
            db = SqliteDatabase(dataset.folder.ledger)
            retried = commit(db, Retry(self.clock.now()))
            db.close()
        self.log.note(f"retry: {retried}")

    def _timers(self, one: Invocation, life: Life) -> list[asyncio.TimerHandle]:
        at = self.loop.call_later
        timers = [at(after_s, self.clock.jump, by_s) for after_s, by_s in one.jumps]
        timers += [at(after_s, self.provider.sender_sleeps, for_s) for after_s, for_s in one.sleeps]
        if one.doom.at_s is not None:
            timers.append(at(one.doom.at_s, life.die, "a moment"))
        if one.interrupt_at_s is not None:
            timers.append(at(one.interrupt_at_s, self._terminate))
        if one.cancel_at_s is not None:
            timers.append(at(one.cancel_at_s, self._leave_at_once, one, life))
        if one.outage is not None:
            timers.append(at(one.outage[0], self._go_down, one.outage[1]))
        if one.revoked is not None:
            after_s, for_s, count = one.revoked
            timers.append(at(after_s, self._revoke, count))
            timers.append(at(after_s + for_s, self.provider.core.gate.revoked.clear))
        return timers

    def _leave_at_once(self, one: Invocation, life: Life) -> None:
        if one.interrupt_at_s is not None:
            self._terminate()
        else:
            self.log.note("cancelled")
            life.scope.cancel()

    def _terminate(self) -> None:
        if callable(signal.getsignal(signal.SIGTERM)):  # else it would end the test itself
            self.log.note("SIGTERM")
            signal.raise_signal(signal.SIGTERM)

    def _go_down(self, for_s: float) -> None:
        self.provider.down_until = self.loop.time() + for_s

    def _revoke(self, count: int) -> None:
        texts = [text for text, _ in key_texts(self._plan.accounts)]
        self.provider.core.gate.revoked.update(texts[:count])

    def _cut_power(self) -> None:
        """The machine is off and on again; lane files were never synced."""
        self.disk.power_cut()
        self.clock.reboot()
        self.judge.clocks_are_forgotten()
        luck = self._random(f"{self._number}/cut").random()
        if luck < 0.5 and self._lanes.exists():
            for path in self._lanes.glob("*.sqlite*"):
                path.unlink()
            self.judge.lanes_are_forgotten()
        self.log.note("the power was cut")

    def _settings(self, one: Invocation) -> Settings:
        plan = self._plan
        run, day, whole = (None if cap is None else Micros(cap) for cap in one.caps)
        limits = Limits(creates=plan.creates, window=plan.window_s, concurrent=plan.concurrent)
        provider = Provider.model_construct(
            base_url=BASE_URL, dialect=plan.dialect,
            auth="x-api-key" if plan.dialect == "card" else "bearer", timeout=plan.timeout_s,
            deadline=plan.deadline_s, serial_creates=plan.serial_creates,
        )  # fmt: skip
        budget = Budget.model_construct(per_run=run, per_day=day, per_dataset=whole, timezone="UTC")
        return base_settings().model_copy(
            update={
                "limits": limits,
                "provider": provider,
                "budget": budget,
                "webhook": Webhook(public_url=HOOKS_URL if plan.webhooks else None),
                "reconcile": Reconcile(
                    lag=plan.lag_s, patience=8 * plan.lag_s, sole_user=plan.sole_user
                ),
                "sink": SinkSettings(
                    min_free=0, downloads=3, **_KEPT[(plan.seed + self._number) % len(_KEPT)]
                ),
                "inputs": Inputs(seed="derived" if plan.derived_seeds else "provider"),
            }
        )

    def _keys(self, one: Invocation) -> list[ApiKey]:
        return [key for key in keys_of(self._plan) if key.label not in one.withheld]


def keys_of(plan: Plan) -> list[ApiKey]:
    texts = key_texts(plan.accounts)
    return [ApiKey(text, label=text, account=account) for text, account in texts]


def far_settings(plan: Plan) -> emulator.EmulatorSettings:
    limits = emulator.ServedLimits(
        plan.creates,
        plan.window_s,
        plan.concurrent,
        counts="attempted" if plan.counts_attempts else "accepted",
        tells_when=plan.tells_when,
    )
    if not plan.enforces:
        limits = emulator.ServedLimits(0, plan.window_s, 0)
    return emulator.EmulatorSettings(
        limits=limits,
        duration_s=plan.duration_s,
        sigma=plan.sigma,
        latency_s=plan.latency_s,
        jitter_s=plan.jitter_s,
        keys=tuple(key_texts(plan.accounts)),
        dialect=plan.dialect,
        has_listing=plan.has_listing,
    )


@cache
def base_settings() -> Settings:
    return _load_settings(environ={})


@cache
def migrated_ledger(name: str) -> bytes:
    """The file of an empty ledger that calls itself *name*, made once."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        SqliteDatabase(path).close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE ledger_version SET dataset = ?", (name,))
        return path.read_bytes()
