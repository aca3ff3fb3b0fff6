"""The session of one invocation of `run`: its parts, built and put together.

Owns the worker context and the parts in it. Starts no task: `engine.run` does that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fluxbatch._version import __version__
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import LIVE, JobState, PredictionState
from fluxbatch.domain.money import Caps, Micros
from fluxbatch.engine.status import LaneStatus, RunStatus, RunSummary
from fluxbatch.engine.webhook_service import OpenListener
from fluxbatch.errors import ExitCode
from fluxbatch.events import Events, RunStarted
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.operations.runs import OpenedRun, OpenRun
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob, pending_jobs, sampled_jobs
from fluxbatch.ledger.queries.recovery import (
    UnfinishedOutput,
    live_predictions,
    recent_creates,
    recent_durations,
    unfinished_outputs,
)
from fluxbatch.ledger.queries.runs_and_failures import latest_failed
from fluxbatch.ledger.queries.totals import JobCounts, Totals, count_jobs, totals_of_run
from fluxbatch.ledger.writer import LedgerWriter, commit
from fluxbatch.models import ModelCard
from fluxbatch.provider import ProviderClient, Transport
from fluxbatch.queue import JobQueue
from fluxbatch.scheduler.lane import Lane, Lanes
from fluxbatch.scheduler.lane_state_file import LaneFile, LaneJournal
from fluxbatch.sink import Fetcher, ImageStore, Sink
from fluxbatch.worker.circuit_breaker import CircuitBreaker, FailureCap
from fluxbatch.worker.context import OutputsToFetch, T, WorkerContext
from fluxbatch.worker.fetch_outputs import OutputFetcher
from fluxbatch.worker.late_webhooks import LateWebhooks
from fluxbatch.worker.poll_schedule import kind_of
from fluxbatch.worker.recover import (
    _DURATIONS,
    _RECENT_WINDOWS,
    Recovery,
    _send,
    seed_lane,
    unfinished_deliveries,
)
from fluxbatch.worker.resolve_unknown import UnknownResolver
from fluxbatch.worker.stop import Stop
from fluxbatch.worker.submit import Submitter

_ROOM_S = 1.0
_SPARE_BUYERS = 4
"""Jobs made ready beyond the slots, so that a freed slot is taken at once."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network and the user's state folder, replaced as a whole in a simulation."""

    transport: Transport
    fetcher: Fetcher
    lanes_folder: Path | None = None
    """Where lanes keep their files; None: the user's state folder."""
    listen: OpenListener | None = None
    """How webhooks are heard; None: on a socket."""


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A dataset that is held, with its manifest in the ledger."""

    folder: Folder
    images: ImageStore
    settings: Settings
    card: ModelCard
    db: SqliteDatabase
    reader: Database
    manifest_seq: int
    began_s: float
    other_cards: Mapping[str, ModelCard] = field(default_factory=dict)
    """Of models this dataset has bought from before, by slug."""

    @property
    def caps(self) -> Caps:
        budget = self.settings.budget
        return {"run": budget.per_run, "day": budget.per_day, "dataset": budget.per_dataset}


async def open_run(opened: OpenDataset, runtime: Runtime) -> OpenedRun:
    """Begin the run, or continue the one that has not ended."""
    at = runtime.clock.now()
    day = at.utc.astimezone(opened.settings.zone).date().isoformat()
    operation = OpenRun(
        at=at,
        new_id=f"{at.utc:%Y%m%d-%H%M%S}-{runtime.random.getrandbits(16):04x}",
        manifest_seq=opened.manifest_seq,
        model=opened.card.slug,
        caps=opened.caps,
        budget_day=day,
        settings_json=opened.settings.model_dump_json(exclude={"notify"}),
        tool_version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    return await runtime.to_thread(partial(commit, opened.db, operation))


class RunSession:
    """Everything one invocation consists of."""

    def __init__(
        self,
        opened: OpenDataset,
        run: OpenedRun,
        keys: Sequence[ApiKey],
        files: Mapping[str, LaneFile],
        runtime: Runtime,
        events: Events,
        network: Network,
        max_failures: FailureCap | None = None,
    ) -> None:
        self._opened = opened
        self._max_failures = max_failures
        self._runtime = runtime
        self._reading = anyio.Lock()
        self._room: tuple[float, bool] = (-_ROOM_S, True)
        self.recovered = anyio.Event()
        """What an earlier process left behind is taken up."""
        self._done_before = 0
        self._at_start: tuple[Totals, Totals, JobCounts] | None = None
        """What `started` has just summed up, for the first status."""
        self._store = opened.images
        self.context = self._context(run, keys, files, events, network)
        self.resolver = UnknownResolver(self.context)
        self.recovery = Recovery(self.context, self.resolver)
        self.late = LateWebhooks(self.context, self.recovery)
        self.submitter = Submitter(self.context, self.resolver)
        sink = Sink(self._store, network.fetcher, opened.settings.sink, runtime)
        self.output_fetcher = OutputFetcher(self.context, sink)

    def _context(
        self,
        run: OpenedRun,
        keys: Sequence[ApiKey],
        files: Mapping[str, LaneFile],
        events: Events,
        network: Network,
    ) -> WorkerContext:
        settings, clock = self._opened.settings, self._runtime.clock
        stop = Stop(events)
        lanes = Lanes(
            [
                Lane(account, [k for k in keys if k.account == account], settings.limits)
                for account in files
            ],
            settings.limits,
            clock,
            settings.reconcile.lag,
            events,
            all_out=partial(stop, ExitCode.NO_KEY),
        )
        queue = JobQueue(self._page, clock)
        stop.on_stop(queue.close)
        stop.on_stop(lanes.close)
        clients = {
            key.fingerprint: ProviderClient(
                network.transport, settings.provider, key, self._runtime
            )
            for key in keys
        }
        return WorkerContext(
            run=run,
            settings=settings,
            caps=self._opened.caps,
            card=self._opened.card,
            reserve=Micros(max(self._opened.card.price or 0, run.highest_cost)),
            ledger=LedgerWriter(self._opened.db, self._runtime.to_thread),
            read=self.read,
            queue=queue,
            lanes=lanes,
            journals={a: LaneJournal(file, self._runtime.to_thread) for a, file in files.items()},
            clients=clients,
            accounts={key.fingerprint: key.account for key in keys},
            runtime=self._runtime,
            events=events,
            stop=stop,
            guard=CircuitBreaker(stop, self._max_failures, settings.stop.identical_failures),
            has_room=self._has_room,
            other_cards=self._opened.other_cards,
        )

    async def sampled(self, most: int) -> list[QueuedJob]:
        """Pending jobs from everywhere in the manifest."""
        seq = self._opened.manifest_seq
        return await self.read(partial(sampled_jobs, manifest_seq=seq, most=most))

    def submitters_wanted(self) -> int:
        """One for every slot, and some to make jobs ready."""
        slots = sum(lane.slots.limit for lane in self.context.lanes.all)
        return slots + max(_SPARE_BUYERS, slots // 8)

    async def recover(
        self,
        work: TaskGroup,
        deliver: MemoryObjectSendStream[OutputsToFetch],
        *,
        following: TaskGroup | None = None,
        adopting: Collection[PredictionState] = LIVE,
        sweeping: bool = True,
    ) -> None:
        """Take up what an earlier process left behind; it goes on in *work*.

        Predictions in a state of *adopting* are followed there too, or in *following*.
        """
        context = self.context
        live = await self.read(live_predictions)
        unfinished = await self.read(unfinished_outputs)
        if sweeping:
            await self._runtime.to_thread(partial(self._sweep, unfinished))
        durations = partial(recent_durations, model=context.card.slug, most=_DURATIONS)
        for given, duration_s in await self.read(durations):
            context.timing.remember(kind_of(given), [duration_s])
        recovery = self.recovery
        for lane in context.lanes.all:
            recent = await self.read(
                partial(
                    recent_creates,
                    account=lane.account,
                    most=_RECENT_WINDOWS * lane.creates.limit,
                )
            )
            seed = partial(seed_lane, context, lane, recent)
            for kept in await self._runtime.to_thread(seed):
                work.start_soon(recovery.watch_stranger, lane, kept, name="stranger")
        await recovery.mark_unanswered(live)
        for one in live:
            if one.state in adopting:
                group, name = following or work, f"adopted-{one.seq}"
                group.start_soon(recovery.adopt, one, deliver.clone(), name=name)
        for delivery in unfinished_deliveries(context, unfinished, self._runtime.clock.now()):
            work.start_soon(_send, delivery, deliver.clone(), name="unfinished")
        # The adopted hold their slots before anything new is bought.
        await anyio.lowlevel.checkpoint()
        self.recovered.set()

    def _sweep(self, unfinished: Sequence[UnfinishedOutput]) -> None:
        """Half files, and files a crash kept out of the ledger: both are fetched again."""
        self._store.sweep()
        for one in unfinished:
            self._store.discard(one.stem)

    async def flush(self) -> None:
        """Write what the lanes' files have not been told yet."""
        for journal in self.context.journals.values():
            await self._runtime.to_thread(journal.flush)

    async def read(self, query: Callable[[Database], T], /) -> T:
        """Run a query on the reader's connection, one at a time."""
        async with self._reading:
            return await self._runtime.to_thread(partial(query, self._opened.reader))

    async def started(self) -> RunStarted:
        self._at_start = run, dataset, jobs = await self._sums()
        self._done_before = jobs.of(JobState.DONE)
        opened = self.context.run
        return RunStarted(
            opened.run_id, opened.continued, jobs.total, self._done_before, run.spent, dataset.spent
        )

    async def status(self) -> RunStatus:
        """Where the run stands, from the ledger and the lanes."""
        context = self.context
        at_start, self._at_start = self._at_start, None
        run, dataset, jobs = at_start or await self._sums()
        lines = await self.read(
            partial(read_lines, run_id=context.run.run_id, day=context.budget_day())
        )
        latest = partial(latest_failed, manifest_seq=self._opened.manifest_seq)
        failures = await self.read(latest) if jobs.of(JobState.FAILED) else []
        now = context.now_s()
        lanes = tuple(LaneStatus.of(lane, now) for lane in context.lanes.all)
        return RunStatus(
            context.run.run_id,
            now - self._opened.began_s,
            jobs,
            run,
            dataset,
            tuple(lines),
            lanes,
            self._done_before,
            context.stop.reason,
            tuple(failures),
        )

    async def summary(self) -> RunSummary:
        """How it ended. Source of the codes' order: docs/design/protocol.md 6."""
        run, dataset, jobs = await self._sums()
        code, reason = self._exit(jobs)
        seconds = self.context.now_s() - self._opened.began_s
        opened = self.context.run
        return RunSummary(
            opened.run_id, code, reason, opened.continued, jobs, run, dataset, seconds
        )

    def _exit(self, jobs: JobCounts) -> tuple[ExitCode, str]:
        stop = self.context.stop
        left = jobs.total - jobs.of(JobState.DONE) - jobs.of(JobState.FAILED)
        if stop.code is ExitCode.ERROR or (
            left and stop.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.NO_KEY}
        ):
            return stop.code, stop.reason
        if jobs.of(JobState.ACTIVE) > jobs.unknown:
            return ExitCode.NO_KEY, "predictions run that no key may ask about"
        if jobs.unknown:
            return ExitCode.UNKNOWN_LEFT, f"the outcome of {jobs.unknown} creates is unknown"
        if left and stop.code is not None:
            return stop.code, stop.reason
        if left and self.context.queue.starved_by is not None:
            return ExitCode.STOPPED, self.context.queue.starved_by
        if left:
            return ExitCode.ERROR, f"{left} jobs were left without a reason; run again"
        if jobs.of(JobState.FAILED) or jobs.invalid:
            return ExitCode.SOME_FAILED, "some jobs failed"
        return ExitCode.DONE, "every job is done"

    async def _sums(self) -> tuple[Totals, Totals, JobCounts]:
        manifest_seq, run_seq = self._opened.manifest_seq, self.context.run.seq

        def query(db: Database) -> tuple[Totals, Totals, JobCounts]:
            return *totals_of_run(db, run_seq), count_jobs(db, manifest_seq)

        return await self.read(query)

    async def _page(self, after: QueueCursor, most: int) -> tuple[list[QueuedJob], QueueCursor]:
        seq = self._opened.manifest_seq
        return await self.read(partial(pending_jobs, manifest_seq=seq, after=after, most=most))

    async def _has_room(self) -> bool:
        """Whether the disk has `sink.min_free`; looked at once a second at most."""
        looked, room = self._room
        now = self.context.now_s()
        if now - looked >= _ROOM_S:
            least = self._opened.settings.sink.min_free
            room = await self._runtime.to_thread(partial(self._store.has_room, least))
            self._room = (now, room)
        return room
