"""The session of one invocation of `run`: its parts, built and put together.

Owns the worker context and the parts in it. Starts no task: `engine.run` does that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from fluxbatch._version import __version__
from fluxbatch.config.api_keys import ApiKey, KeyFilter
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.money import Caps, Micros
from fluxbatch.engine.status_reader import StatusReader
from fluxbatch.engine.webhook_service import OpenListener
from fluxbatch.errors import ExitCode
from fluxbatch.events import Events, Noticed
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.runs import OpenedRun, OpenRun
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob, pending_jobs, sampled_jobs
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.ledger.writer import LedgerWriter, commit
from fluxbatch.models import ModelCard
from fluxbatch.provider import ProviderClient, Transport
from fluxbatch.queue import JobQueue
from fluxbatch.scheduler.lane import Lane, Lanes
from fluxbatch.scheduler.lane_state_file import KeptCreate, LaneFile, LaneJournal, kept_elsewhere
from fluxbatch.scheduler.serial import SerialCreates
from fluxbatch.scheduler.state_folder import lanes_folder
from fluxbatch.sink import Aside, Fetcher, ImageStore, Sink
from fluxbatch.worker.circuit_breaker import CircuitBreaker, FailureCap
from fluxbatch.worker.context import T, WorkerContext
from fluxbatch.worker.fetch_outputs import OutputFetcher
from fluxbatch.worker.late_webhooks import LateWebhooks
from fluxbatch.worker.other_slots import OtherSlots
from fluxbatch.worker.poll_schedule import PollSchedule
from fluxbatch.worker.recover import Recovery
from fluxbatch.worker.stop import Stop
from fluxbatch.worker.submit import Submitter
from fluxbatch.worker.unknown.resolve import UnknownResolver

_ROOM_S = 1.0
_SPARE_SUBMITTERS = 4
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


@dataclass(slots=True)
class OpenDataset:
    """A dataset that is locked, with its manifest in the ledger, and how it is read."""

    folder: Folder
    images: ImageStore
    settings: Settings
    card: ModelCard
    db: SqliteDatabase
    """The writer's connection."""
    reader: Database
    manifest_seq: int
    runtime: Runtime
    began_s: float
    """Monotonic."""
    other_cards: Mapping[str, ModelCard] = field(default_factory=dict)
    """Of models this dataset has bought from before, by slug."""
    _reading: anyio.Lock = field(default_factory=anyio.Lock)
    _room: tuple[float, bool] = (-_ROOM_S, True)

    @property
    def caps(self) -> Caps:
        budget = self.settings.budget
        return {"run": budget.per_run, "day": budget.per_day, "dataset": budget.per_dataset}

    async def read(self, query: Callable[[Database], T], /) -> T:
        """Run a query on the reader's connection, one at a time."""
        async with self._reading:
            return await self.runtime.to_thread(partial(query, self.reader))

    async def page(self, after: QueueCursor, most: int) -> tuple[list[QueuedJob], QueueCursor]:
        """The manifest's next pending jobs."""
        seq = self.manifest_seq
        return await self.read(partial(pending_jobs, manifest_seq=seq, after=after, most=most))

    async def sampled(self, most: int) -> list[QueuedJob]:
        """Pending jobs from everywhere in the manifest."""
        return await self.read(partial(sampled_jobs, manifest_seq=self.manifest_seq, most=most))

    async def has_room(self) -> bool:
        """Whether the disk has `sink.min_free`; looked at once a second at most."""
        looked, room = self._room
        now = self.runtime.clock.monotonic()
        if now - looked >= _ROOM_S:
            least = self.settings.sink.min_free
            room = await self.runtime.to_thread(partial(self.images.has_room, least))
            self._room = (now, room)
        return room


async def open_run(dataset: OpenDataset) -> OpenedRun:
    """Begin the run, or continue the one that has not ended."""
    runtime = dataset.runtime
    at = runtime.clock.now()
    day = at.utc.astimezone(dataset.settings.zone).date().isoformat()
    operation = OpenRun(
        at=at,
        new_id=f"{at.utc:%Y%m%d-%H%M%S}-{runtime.random.getrandbits(16):04x}",
        manifest_seq=dataset.manifest_seq,
        model=dataset.card.slug,
        caps=dataset.caps,
        budget_day=day,
        settings_json=dataset.settings.model_dump_json(exclude={"notify"}),
        tool_version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    return await runtime.to_thread(partial(commit, dataset.db, operation))


class RunSession:
    """The parts of one run, made and put together."""

    def __init__(
        self,
        dataset: OpenDataset,
        run: OpenedRun,
        keys: Sequence[ApiKey],
        files: Mapping[str, LaneFile],
        events: Events,
        network: Network,
        max_failures: FailureCap | None = None,
    ) -> None:
        self.dataset = dataset
        self.keys = tuple(keys)
        self.context = _context(dataset, run, keys, files, events, network, max_failures)
        self.resolver = UnknownResolver(self.context)
        self.others = OtherSlots(self.context, self.resolver)
        self.recovery = Recovery(self.context, self.resolver, self.others, dataset.images)
        self.late = LateWebhooks(self.context, self.recovery)
        self.submitter = Submitter(self.context, self.resolver)
        aside = Aside(dataset.folder.unread)
        sink = Sink(dataset.images, network.fetcher, dataset.settings.sink, dataset.runtime, aside)
        self.output_fetcher = OutputFetcher(self.context, sink)
        self.reader = StatusReader(
            self.context, self.resolver, dataset.manifest_seq, dataset.began_s
        )

    def submitters_wanted(self) -> int:
        """One for every slot, and some to make jobs ready."""
        slots = sum(lane.slots.limit for lane in self.context.lanes.all)
        return slots + max(_SPARE_SUBMITTERS, slots // 8)

    async def flush(self) -> None:
        """Write what the lanes' files have not been told yet."""
        for journal in self.context.journals.values():
            await self.dataset.runtime.to_thread(journal.flush)


def _context(
    dataset: OpenDataset,
    run: OpenedRun,
    keys: Sequence[ApiKey],
    files: Mapping[str, LaneFile],
    events: Events,
    network: Network,
    max_failures: FailureCap | None,
) -> WorkerContext:
    settings, runtime = dataset.settings, dataset.runtime
    stop = Stop(events)
    serial = SerialCreates(settings.provider.serial_creates, settings.provider.timeout)
    lanes = Lanes(
        [
            Lane(account, [k for k in keys if k.account == account], settings.limits, serial)
            for account in files
        ],
        settings.limits,
        runtime.clock,
        settings.reconcile.lag,
        events,
        all_out=partial(stop, ExitCode.NO_KEY),
    )
    queue = JobQueue(dataset.page, runtime.clock)
    stop.on_stop(queue.close)
    stop.on_stop(lanes.close)
    clients = {
        key.fingerprint: ProviderClient(network.transport, settings.provider, key, runtime)
        for key in keys
    }
    without_keys = KeyFilter(keys)
    journals = {a: LaneJournal(file, runtime.to_thread) for a, file in files.items()}
    return WorkerContext(
        run=run,
        settings=settings,
        caps=dataset.caps,
        card=dataset.card,
        reserve=Micros(max(dataset.card.price or 0, run.highest_cost)),
        ledger=LedgerWriter(
            dataset.db,
            runtime.to_thread,
            without_keys,
            beside=list(journals.values()),
            split=partial(_tell_split, events),
        ),
        read=dataset.read,
        queue=queue,
        lanes=lanes,
        journals=journals,
        clients=clients,
        accounts={key.fingerprint: key.account for key in keys},
        runtime=runtime,
        events=events,
        stop=stop,
        guard=CircuitBreaker(stop, max_failures, settings.stop.identical_failures),
        has_room=dataset.has_room,
        timing=PollSchedule(dataset.card.execution_s),
        other_cards=dataset.other_cards,
        keys=without_keys,
        serial=serial,
        kept_elsewhere=partial(_kept_elsewhere, dataset.folder, dataset_id(dataset.db), network),
    )


def _tell_split(events: Events, times: int, why: str) -> None:
    """At the first, and each time there are twice as many: a fault of ours that costs time."""
    if times & (times - 1) == 0:
        events.emit(Noticed(f"{times} times a group of changes was committed one by one: {why}"))


def _kept_elsewhere(folder: Folder, dataset: str, network: Network) -> list[KeptCreate]:
    """What other datasets on this host have written of their creates. Blocks."""
    place = network.lanes_folder or lanes_folder(folder.root)[0]
    return kept_elsewhere(place, dataset)
