"""`repair`: every stored file checked, what is missing or corrupt fetched again for $0.

Owns which outputs become wanted again. A corrupt file stays until its whole successor takes
its name: half an image may still be worth something to whoever has no other.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice

from fluxbatch.dataset.node_sight import refuse_blind_nodes
from fluxbatch.engine.session import DatasetRequest, Network, RunSession
from fluxbatch.events import Events
from fluxbatch.infra.concurrency import for_each
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.maintenance import RequeueOutputs
from fluxbatch.ledger.queries.audit import (
    StoredFile,
    count_images,
    lost_outputs,
    stored_after,
    unnamed,
)
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.maintenance.reports import RepairReport
from fluxbatch.maintenance.session import follow_live, open_session
from fluxbatch.maintenance.sidecars import without_sidecars, write_missing
from fluxbatch.shards.pool import INLINE, ShardPool
from fluxbatch.sink import Images
from fluxbatch.sink.file_check import Fault, FileCheck, KnownFile, check_files

_READERS = 4
_BATCH = 32
_BATCH_ELSEWHERE = 250
"""Files for another process: less is mostly talk."""
_PATHS = 1_000


async def repair_dataset(
    request: DatasetRequest,
    events: Events,
    *,
    runtime: Runtime | None = None,
    network: Network | None = None,
    handle_signals: bool = False,
    pool: ShardPool = INLINE,
) -> RepairReport:
    """Check a dataset's files and fetch again what is not whole; without keys, only check.

    The files are compared by *pool*.

    Raises `FluxbatchError` where it could not begin; everything else is in the report.
    """
    return await open_session(
        request,
        events,
        partial(_repair, pool),
        RepairReport(),
        runtime=runtime,
        network=network,
        handle_signals=handle_signals,
    )


async def _repair(pool: ShardPool, session: RunSession, report: RepairReport) -> None:
    context, to_thread = session.context, session.context.runtime.to_thread
    await session.context.read(budgets.audit)
    dataset = await session.context.read(dataset_id)
    images = session.context.images
    await to_thread(lambda: images.claim(dataset))
    await to_thread(images.sweep)
    await session.context.read(partial(_refuse_blind_nodes, pool, images))
    broken = await _broken(pool, session, report)
    lost = await session.context.read(lost_outputs)
    report.lost = len(lost)
    _, wanted = await session.context.read(count_images)
    if not session.keys:
        report.unfetched = len(broken) + wanted
        report.no_key = report.unfetched > 0
    elif context.stop.code is None:
        again = [(file.output_seq, file.job_seq, fault.words) for file, fault in broken] + lost
        await _want_again(session, again)
        _, before = await session.context.read(count_images)
        await follow_live(session, adopting=(), patience_s=math.inf, sweeping=False)
        _, report.unfetched = await session.context.read(count_images)
        report.fetched = before - report.unfetched
    else:
        report.unfetched = len(broken) + wanted
    report.strays = await without_sidecars(session, await _strays(session))
    if context.settings.sink.sidecar and context.stop.code is None:
        report.sidecars, report.unwritten = await write_missing(session, pool)


def _refuse_blind_nodes(pool: ShardPool, images: Images, db: Database) -> None:
    refuse_blind_nodes(pool, db, images, None)


async def _broken(
    pool: ShardPool, session: RunSession, report: RepairReport
) -> list[tuple[StoredFile, Fault]]:
    """Every stored output whose file is not whole."""
    context, images = session.context, session.context.images
    broken: list[tuple[StoredFile, Fault]] = []

    async def check(files: Sequence[StoredFile]) -> None:
        if context.stop.code is None:
            known = tuple(KnownFile(file.path, file.sha256, file.bytes) for file in files)
            asked = partial(pool.ask, check_files, FileCheck(images, known))
            faults = await context.runtime.to_thread(asked)
            broken.extend((files[fault.number], fault) for fault in faults)
            report.checked += len(files)

    size, at_once = (_BATCH, _READERS) if pool.is_inline else (_BATCH_ELSEWHERE, pool.at_once)
    async for page in _stored(session):
        batches = [page[start : start + size] for start in range(0, len(page), size)]
        await for_each(batches, check, at_once=at_once)
    broken.sort(key=lambda one: one[0].output_seq)
    report.missing = [file.path for file, fault in broken if fault.kind == "missing"]
    report.refused = [file.path for file, fault in broken if fault.kind == "refused"]
    report.corrupt = [file.path for file, fault in broken if fault.kind == "corrupt"]
    return broken


async def _stored(session: RunSession) -> AsyncIterator[list[StoredFile]]:
    after = -1
    while page := await session.context.read(partial(stored_after, after=after)):
        yield page
        after = page[-1].output_seq


async def _want_again(session: RunSession, outputs: Sequence[tuple[int, int, str]]) -> None:
    """Output, job and why, job by job."""
    context = session.context
    by_job: dict[int, list[tuple[int, str]]] = {}
    for output, job, words in outputs:
        by_job.setdefault(job, []).append((output, words))

    async def want(job: tuple[int, list[tuple[int, str]]]) -> None:
        await context.ledger.apply(RequeueOutputs(context.runtime.clock.now(), *job))

    await for_each(by_job.items(), want, at_once=64)


async def _strays(session: RunSession) -> list[str]:
    """Files in `images/` that no output names."""
    found: list[str] = []
    paths = session.context.images.paths()
    while page := await session.context.runtime.to_thread(lambda: list(islice(paths, _PATHS))):
        found += await session.context.read(partial(unnamed, paths=page))
    return found
