"""The session of one invocation of `run`: its parts, built and put together.

Owns the worker context and the parts in it. Starts no task: `engine.run` does that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fluxbatch._version import __version__
from fluxbatch.config.api_keys import ApiKey, Keyring
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.failure_cap import FailureCap
from fluxbatch.domain.money import Micros
from fluxbatch.engine.status_reader import StatusReader
from fluxbatch.engine.webhook_service import OpenListener
from fluxbatch.errors import ExitCode
from fluxbatch.events import CommitMeasured, Events, Noticed
from fluxbatch.infra.runtime import Runtime, T, ToThread
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.runs import OpenedRun, OpenRun
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob, pending_jobs, sampled_jobs
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.ledger.writer import LedgerWriter
from fluxbatch.models import ModelCard
from fluxbatch.provider import ProviderClient, Transport
from fluxbatch.provider.measured_transport import MeasuredTransport
from fluxbatch.queue import JobQueue
from fluxbatch.scheduler.lane import Lane
from fluxbatch.scheduler.lane_state_file import KeptCreate, LaneFile, LaneJournal, kept_elsewhere
from fluxbatch.scheduler.lanes import Lanes
from fluxbatch.scheduler.serial import SerialCreates
from fluxbatch.scheduler.state_folder import lanes_folder
from fluxbatch.sink import Aside, Fetcher, ImageStore, Sink
from fluxbatch.worker.circuit_breaker import CircuitBreaker
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.fetch_outputs import OutputFetcher
from fluxbatch.worker.late_webhooks import LateWebhooks
from fluxbatch.worker.other_slots import OtherSlots
from fluxbatch.worker.poll_schedule import PollSchedule
from fluxbatch.worker.recover import Recovery
from fluxbatch.worker.run_control import OpenControl
from fluxbatch.worker.stop import Stop
from fluxbatch.worker.submit import Submitter
from fluxbatch.worker.unknown.resolve import UnknownResolver

KeptElsewhere = Callable[[], list[KeptCreate]]
_SPARE_SUBMITTERS = 4
"""Jobs made ready beyond the slots, so that a freed slot is taken at once."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """A dataset, and how the provider is reached for it."""

    settings: Settings
    keys: Sequence[ApiKey]
    folder: Folder


@dataclass(frozen=True, slots=True)
class Network:
    """The network and the user's state folder, replaced as a whole in a simulation."""

    transport: Transport
    fetcher: Fetcher
    lanes_folder: Path | None = None
    """Where lanes keep their files; None: the user's state folder."""
    listen: OpenListener | None = None
    """How webhooks are heard; None: on a socket."""
    control: OpenControl | None = None
    """How commands of `fluxbatch ctl` come; None: by the dataset's socket."""


def opening(
    settings: Settings, card: ModelCard, manifest_seq: int, runtime: Runtime, name: str | None
) -> OpenRun:
    """The operation that begins the run *name*, or continues the one that has not ended."""
    at = runtime.clock.now()
    return OpenRun(
        at=at,
        new_id=name or f"{at.utc:%Y%m%d-%H%M%S}-{runtime.random.getrandbits(16):04x}",
        is_named=name is not None,
        manifest_seq=manifest_seq,
        model=card.slug,
        caps=settings.budget.caps,
        budget_day=at.utc.astimezone(settings.zone).date().isoformat(),
        settings_json=settings.model_dump_json(exclude={"notify"}),
        tool_version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


class RunSession:
    """The parts of one run on a dataset that is locked, made and put together."""

    def __init__(
        self,
        request: DatasetRequest,
        run: OpenedRun,
        card: ModelCard,
        other_cards: Mapping[str, ModelCard],
        images: ImageStore,
        db: Database,
        reader: Database,
        files: Mapping[str, LaneFile],
        events: Events,
        runtime: Runtime,
        network: Network,
        max_failures: FailureCap | None = None,
        *,
        kept_elsewhere: KeptElsewhere | None = None,
        queue: JobQueue | None = None,
    ) -> None:
        """*db* is the writer's connection, *reader* another; *other_cards* are those of models the
        dataset has bought from before, by slug, *files* the lanes' by account. Where several
        processes share a run, they share its *queue* and know of other datasets' creates
        (*kept_elsewhere*) by the database."""
        settings, folder = request.settings, request.folder
        self.keys = keys = Keyring.of(request.keys)
        stop = Stop(events)
        serial = SerialCreates(settings.provider.serial_creates, settings.provider.timeout)
        read = LedgerReader(reader, runtime.to_thread)
        journals = {a: LaneJournal(file, runtime.to_thread) for a, file in files.items()}
        transport, trip = _measured(settings, events, runtime, network)
        self._client = partial(_client, transport, settings, runtime)
        self.context = context = WorkerContext(
            run=run,
            settings=settings,
            card=card,
            reserve=Micros(max(card.price or 0, run.highest_cost)),
            ledger=LedgerWriter(
                db,
                trip,
                keys.filter,
                beside=journals.values(),
                split=partial(_tell_split, events),
            ),
            read=read,
            images=images,
            queue=queue or JobQueue(partial(_page, read, run.manifest_seq), runtime.clock),
            lanes=_lanes(request, files, serial, events, runtime, stop),
            journals=journals,
            clients={key.fingerprint: self._client(key) for key in keys},
            accounts={key.fingerprint: key.account for key in keys},
            runtime=runtime,
            events=events,
            stop=stop,
            guard=CircuitBreaker(stop, max_failures, settings.stop.identical_failures),
            timing=PollSchedule(card.execution_s),
            other_cards=other_cards,
            keys=keys.filter,
            serial=serial,
            kept_elsewhere=kept_elsewhere
            or partial(_kept_elsewhere, folder, dataset_id(db), network),
        )
        stop.on_stop(context.queue.close)
        stop.on_stop(context.lanes.close)
        self.resolver = UnknownResolver(context)
        self.others = OtherSlots(context, self.resolver)
        self.recovery = Recovery(context, self.resolver, self.others)
        self.late = LateWebhooks(context, self.recovery)
        self.submitter = Submitter(context, self.resolver)
        sink = Sink(images, network.fetcher, settings.sink, runtime, Aside(folder.unread))
        self.output_fetcher = OutputFetcher(context, sink)
        self.reader = StatusReader(context, self.resolver)

    def add_key(self, key: ApiKey) -> None:
        """Requests may be made with it from here on; nothing is created with it yet."""
        self.keys.add(key)
        self.context.clients[key.fingerprint] = self._client(key)
        self.context.accounts[key.fingerprint] = key.account

    async def sampled(self, most: int) -> list[QueuedJob]:
        """Pending jobs from everywhere in the manifest."""
        seq = self.context.run.manifest_seq
        return await self.context.read(partial(sampled_jobs, manifest_seq=seq, most=most))

    def submitters_wanted(self) -> int:
        """One for every slot, and some to make jobs ready."""
        slots = sum(lane.slots.limit for lane in self.context.lanes.all)
        return slots + max(_SPARE_SUBMITTERS, slots // 8)

    async def flush(self) -> None:
        """Write what the lanes' files have not been told yet."""
        for journal in list(self.context.journals.values()):
            await self.context.runtime.to_thread(journal.flush)


def _lanes(
    request: DatasetRequest,
    files: Mapping[str, LaneFile],
    serial: SerialCreates,
    events: Events,
    runtime: Runtime,
    stop: Stop,
) -> Lanes:
    limits = request.settings.limits
    return Lanes(
        [
            Lane(account, [k for k in request.keys if k.account == account], limits, serial)
            for account in files
        ],
        limits,
        runtime.clock,
        request.settings.reconcile.lag,
        events,
        all_out=partial(stop, ExitCode.NO_KEY),
    )


def _client(
    transport: Transport, settings: Settings, runtime: Runtime, key: ApiKey
) -> ProviderClient:
    return ProviderClient(transport, settings.provider, key, runtime)


def _measured(
    settings: Settings, events: Events, runtime: Runtime, network: Network
) -> tuple[Transport, ToThread]:
    """Requests, and the ledger's trips to a thread, each a commit; their times are told where
    anybody asks."""
    if not events.are_measured:
        return network.transport, runtime.to_thread
    url, clock = settings.provider.base_url, runtime.clock

    async def to_thread(call: Callable[[], T], /) -> T:
        began = clock.monotonic()
        try:
            return await runtime.to_thread(call)
        finally:
            events.measure(CommitMeasured(clock.monotonic() - began))

    return MeasuredTransport(network.transport, url, clock, events.measure), to_thread


async def _page(
    read: LedgerReader, manifest_seq: int, after: QueueCursor, most: int
) -> tuple[list[QueuedJob], QueueCursor]:
    """The manifest's next pending jobs."""
    return await read(partial(pending_jobs, manifest_seq=manifest_seq, after=after, most=most))


def _tell_split(events: Events, times: int, why: str) -> None:
    """At the first, and each time there are twice as many: a fault of ours that costs time."""
    if times & (times - 1) == 0:
        events.emit(Noticed(f"{times} times a group of changes was committed one by one: {why}"))


def _kept_elsewhere(folder: Folder, dataset: str, network: Network) -> list[KeptCreate]:
    """What other datasets on this host have written of their creates. Blocks."""
    place = network.lanes_folder or lanes_folder(folder.root)[0]
    return kept_elsewhere(place, dataset)
