"""A plan of a shared run carried out: machines whose processes work, die and begin again at once.

Owns what they have in common (server, provider, images, time) and what is asked at the end: every
row has an end, and both sides' books agree.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider as ProviderSettings
from fluxbatch.config.settings import (
    Budget,
    Inputs,
    LedgerSettings,
    Limits,
    Reconcile,
    Settings,
    SinkSettings,
)
from fluxbatch.domain.money import Micros
from fluxbatch.engine import run
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.session import Network
from fluxbatch.errors import ExitCode, FluxbatchError
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Runtime
from fluxbatch.infra.shared_clock import STEP_S
from tests.simulation.checks import Violation
from tests.simulation.pictures import painted_control
from tests.simulation.plan import Invocation
from tests.simulation.provider import BASE_URL, Letter
from tests.simulation.provider import Provider as FarSide
from tests.simulation.shared.books import SharedAuditor
from tests.simulation.shared.judge import SharedJudge
from tests.simulation.shared.loop import PROCESS, ManyProcessesLoop
from tests.simulation.shared.plan import OneLife, Round, Seat, SharedPlan
from tests.simulation.shared.process import Process, SimDataset
from tests.simulation.shared.server import DATASETS, TimedDatabase, VirtualServer
from tests.simulation.wire import SimFetcher, SimTransport
from tests.simulation.world import Log, base_settings, far_settings, keys_of
from tests.support.clock import VirtualClock

_LAST_TRIES = 4
_PATIENCE_S = 120.0


class _Provider(FarSide):
    """The provider goes on while whoever wrote to it stands still."""

    def post(self, *request: Any) -> Letter:
        return Context().run(super().post, *request)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended; neither: it was killed."""

    summary: RunSummary | None = None
    error: FluxbatchError | None = None

    @property
    def code(self) -> ExitCode | None:
        return None if self.summary is None else self.summary.exit_code


@dataclass(frozen=True, slots=True)
class _Place:
    """A dataset: its manifest, its images, who looks at its ledger."""

    name: str
    manifest: Path
    images: Path
    auditor: SharedAuditor


@dataclass(slots=True)
class Seen:
    """What came about, for tests that want to know that it did."""

    deaths: list[str] = field(default_factory=list)
    stills: int = 0
    steps: int = 0


class SharedWorld:
    """Everything that outlives a process."""

    def __init__(self, plan: SharedPlan, loop: ManyProcessesLoop, root: Path, log: Log) -> None:
        self._plan, self._base = plan, plan.base
        self.loop, self.log, self.seen = loop, log, Seen()
        self._root = root
        self.codes: list[list[int | None]] = []
        self._processes: list[Process] = []
        self._count = 0
        self._round: Round | None = None
        log.now = loop.time
        self.server = VirtualServer(loop.time)
        clock = VirtualClock(loop)
        self.provider = _Provider(
            far_settings(self._base), clock, self._random("far"), self.log.note
        )
        self.provider.slow_chance = self._base.slow_chance
        self.provider.slow_s = self._base.slow_s
        self.provider.kills_stuck_after_s = 3 * self._base.deadline_s
        for number in range(2):
            (root / f"depth-{number}.png").write_bytes(painted_control(number))
        steps = [abs(by_s) for one in self._plan.rounds for _, by_s in one.steps]
        unseen_s = sum(by_s for by_s in steps if by_s <= STEP_S)
        self.places = [self._place(number, unseen_s) for number in range(len(self._base.rows))]
        auditors = [place.auditor for place in self.places]
        self.judge = SharedJudge(self._base, self.provider, auditors, self.log.note)
        self.judge.unseen_s = unseen_s
        self._all = anyio.CancelScope()
        self.judge.on_complaint = self._end
        loop.on_turn = self._turn

    def _end(self) -> None:
        self._all.cancel()
        self.loop.call_soon(self.loop.all_go_on, context=Context())

    def _place(self, number: int, unseen_s: float) -> _Place:
        name = DATASETS[number]
        manifest, images = self._root / f"{name}.jsonl", self._root / f"images-{name}"
        manifest.write_text("".join(f"{json.dumps(row)}\n" for row in self._base.rows[number]))
        images.mkdir()
        db = TimedDatabase(self.server, name, read_only=True)
        derived = self._base.derived_seeds
        auditor = SharedAuditor(
            db, images, self.loop.time, derived_seeds=derived, unseen_s=unseen_s
        )
        return _Place(name, manifest, images, auditor)

    def _random(self, purpose: str) -> Random:
        return Random(f"{self._base.seed}/shared/{purpose}")

    def _turn(self) -> None:
        for process in self._processes:
            process.turn()

    def close(self) -> None:
        self.loop.on_turn = None
        for place in self.places:
            place.auditor.close()
        self.server.close()

    async def run(self) -> None:
        """The whole plan, and then in peace to the end."""
        with self._all:
            for one in self._plan.rounds:
                await self.play(one)
            self.provider.slow_chance = 0.0
            for number in range(len(self.places)):
                await self._finish(number)
        self.judge.complain()
        self.judge.verdict()

    async def _finish(self, number: int) -> None:
        """Undisturbed processes end every row."""
        peace = Round(Invocation(), [Seat([OneLife(pause_s=20.0)], number) for _ in range(2)])
        for _ in range(_LAST_TRIES):
            ended = await self.play(peace)
            codes = {one.code for one in ended}
            if codes <= {ExitCode.DONE, ExitCode.SOME_FAILED}:
                return
            if codes == {ExitCode.UNKNOWN_LEFT} and self.judge.may_stay_unknown(number):
                return
        raise Violation(f"undisturbed processes do not end every row: {ended}")

    async def play(self, one: Round) -> list[Ended]:
        """All machines at once; answers how the last process of each ended."""
        self.log.note(f"round: {one}")
        core, told = self.provider.core, one.told
        gone = dict.fromkeys(core.faults.shown(), 0)
        core.faults.merge({**gone, **self._base.switches, **told.faults})
        core.gate.revoked.clear()
        self.judge.round_begins(told)
        self._round = one
        timers = self._timers(one)
        ended: list[Ended] = []

        async def sit(number: int) -> None:
            ended.append(await self._sit(number, one.seats[number]))

        try:
            async with anyio.create_task_group() as machines:
                for number in range(len(one.seats)):
                    machines.start_soon(sit, number)
        except BaseException:
            self.judge.complain()
            raise
        finally:
            for timer in timers:
                timer.cancel()
        self.codes.append([one.code for one in ended])
        return ended

    def _timers(self, one: Round) -> list[asyncio.TimerHandle]:
        at, told, keys = self.loop.call_later, one.told, keys_of(self._base)
        timers = [at(after_s, self._step, by_s) for after_s, by_s in one.steps]
        timers += [at(after_s, self._promote) for after_s in one.promotions]
        if told.outage is not None:
            timers.append(at(told.outage[0], self._go_down, told.outage[1]))
        if told.revoked is not None:
            after_s, for_s, count = told.revoked
            revoked = self.provider.core.gate.revoked
            timers.append(at(after_s, revoked.update, [key.reveal() for key in keys[:count]]))
            timers.append(at(after_s + for_s, revoked.clear))
        return timers

    def _step(self, by_s: float) -> None:
        self.log.note(f"the server's clock is set by {by_s:g} s")
        self.seen.steps += 1
        self.server.step(by_s)

    def _promote(self) -> None:
        self.log.note("another server is promoted")
        self.server.promote()

    def _go_down(self, for_s: float) -> None:
        self.provider.down_until = self.loop.time() + for_s

    async def _sit(self, number: int, seat: Seat) -> Ended:
        ended = Ended()
        for one in seat.lives:
            await anyio.sleep(one.pause_s)
            ended = await self._live(f"p{number}.{self._count}", seat, one)
            if ended.summary is not None:
                break
        return ended

    async def _live(self, name: str, seat: Seat, one: OneLife) -> Ended:
        """One process, from its start to its end."""
        self._count += 1
        place = self.places[seat.dataset]
        process = Process(
            name, one.doom, one.stills, self._random(f"{name}/life"), self.log.note, one.slowness,
            self.loop, self.server,
        )  # fmt: skip
        process.after_call.append(self._watching(process, place.auditor))
        timers = self._troubles(process, one)
        self._processes.append(process)
        self.log.note(f"{name} begins on {place.name}")
        before = PROCESS.set(name)
        try:
            ended = await self._work(process, seat, one, place)
        finally:
            self.seen.stills += process.stood_still
            PROCESS.reset(before)
            self._processes.remove(process)
            process.cut_off()
            for timer in timers:
                timer.cancel()
        self.log.note(f"{name} ended: {ended.code} {ended.error!r}")
        if process.dead:
            self.seen.deaths.append(process.died_at)
        assert self._round is not None
        told = self._round.told
        self.judge.kept(
            lambda: self.judge.process_ended(told, place.auditor, ended.summary, ended.error)
        )
        self.judge.complain()
        return ended

    def _watching(self, process: Process, auditor: SharedAuditor) -> Callable[[], None]:
        seen = 0

        def look() -> None:
            nonlocal seen
            if process.commits != seen:
                seen = process.commits
                self.log.note(f"{process.name}: commit")
                self.judge.kept(lambda: auditor.after_commit(process))
            self.judge.complain()

        return look

    def _troubles(self, process: Process, one: OneLife) -> list[asyncio.TimerHandle]:
        at = self.loop.call_later
        timers = [
            at(still.at_s, process.stand_still, still.for_s)
            for still in one.stills
            if still.at_s is not None
        ]
        if one.doom.at_s is not None:
            timers.append(at(one.doom.at_s, process.die, "a moment"))
        if one.cut_off is not None:
            timers.append(at(one.cut_off[0], process.be_cut_off, True))
            timers.append(at(sum(one.cut_off), process.be_cut_off, False))
        if one.loses_answer_at_s is not None:
            timers.append(at(one.loses_answer_at_s, process.lose_an_answer))
        return timers

    async def _work(self, process: Process, seat: Seat, one: OneLife, place: _Place) -> Ended:
        assert self._round is not None
        told, name = self._round.told, process.name
        settings = self._settings(told, place)
        network = Network(
            SimTransport(
                process, self.provider, self._random(f"{name}/wire"), settings, one.badness
            ),
            SimFetcher(
                process, self.provider, self._random(f"{name}/fetch"), settings.sink.timeout
            ),
        )
        clock = VirtualClock(self.loop, skew_s=seat.skew_s)
        runtime = Runtime(clock, self._random(f"{name}/engine"), process.to_thread)
        folder = SimDataset(self._root / name, self.server.url, place.name, process)
        request = RunRequest(settings, self._keys(seat), folder, place.manifest, limit=told.limit)
        summary: RunSummary | None = None
        error: FluxbatchError | None = None
        try:
            with process.scope:
                summary = await run.execute_run(
                    request,
                    Events(partial(self.log.event, who=f"{name}: "), self.judge.heard),
                    runtime=runtime,
                    network=network,
                )
        except FluxbatchError as exc:
            error = None if process.dead else exc
        except BaseException:
            self.judge.complain()
            if not process.dead:
                raise
        self.judge.complain()
        return Ended(None if process.dead else summary, error)

    def _keys(self, seat: Seat) -> list[ApiKey]:
        """A machine's own; of a stale one the provider knows nothing."""
        return [
            ApiKey(f"old-{key.reveal()}", label=key.label, account=key.account)
            if number in seat.stale
            else key
            for number, key in enumerate(keys_of(self._base))
            if number not in seat.lacks
        ]

    def _settings(self, told: Invocation, place: _Place) -> Settings:
        plan = self._base
        run_cap, day, whole = (None if cap is None else Micros(cap) for cap in told.caps)
        provider = ProviderSettings.model_construct(
            base_url=BASE_URL, dialect=plan.dialect,
            auth="x-api-key" if plan.dialect == "card" else "bearer", timeout=plan.timeout_s,
            deadline=plan.deadline_s, serial_creates=plan.serial_creates,
        )  # fmt: skip
        budget = Budget.model_construct(
            per_run=run_cap, per_day=day, per_dataset=whole, timezone="UTC"
        )
        return base_settings().model_copy(
            update={
                "limits": Limits(
                    creates=plan.creates, window=plan.window_s, concurrent=plan.concurrent
                ),
                "provider": provider,
                "budget": budget,
                "reconcile": Reconcile(
                    lag=plan.lag_s, patience=8 * plan.lag_s, sole_user=plan.sole_user
                ),
                "sink": SinkSettings(min_free=0, downloads=3, store=f"file://{place.images}"),
                "inputs": Inputs(seed="derived" if plan.derived_seeds else "provider"),
                "ledger": LedgerSettings(patience=_PATIENCE_S),
            }
        )
