"""`repair`: every stored file checked, what is missing or corrupt fetched again for $0.

Owns which outputs become wanted again. A corrupt file stays until its whole successor takes
its name: half an image may still be worth something to whoever has no other.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice

from fluxbatch.engine.session import Outside
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Seams
from fluxbatch.ledger.operations.maintenance import WantAgain
from fluxbatch.ledger.queries.audit import (
    StoredFile,
    count_images,
    lost_outputs,
    stored_after,
    unnamed,
)
from fluxbatch.ledger.queries.recovery import dataset_id
from fluxbatch.maintenance.file_check import Fault, faults
from fluxbatch.maintenance.reports import RepairReport
from fluxbatch.maintenance.session import Attendance, Request, attend, each
from fluxbatch.maintenance.sidecars import without_sidecars, write_missing

_READERS = 4
_BATCH = 32
_PATHS = 1_000


async def repair(
    request: Request,
    events: Events,
    *,
    seams: Seams | None = None,
    outside: Outside | None = None,
    handle_signals: bool = False,
) -> RepairReport:
    """Check a dataset's files and fetch again what is not whole; without keys, only check.

    Raises `FluxbatchError` where it could not begin; everything else is in the report.
    """
    return await attend(
        request,
        events,
        _repair,
        RepairReport(),
        seams=seams,
        outside=outside,
        handle_signals=handle_signals,
    )


async def _repair(attendance: Attendance, report: RepairReport) -> None:
    desk, blocking = attendance.desk, attendance.desk.seams.blocking
    await attendance.audit_books()
    dataset = await attendance.read(dataset_id)
    images = attendance.images
    await blocking(lambda: images.claim(dataset))
    await blocking(images.sweep)
    broken = await _broken(attendance, report)
    lost = await attendance.read(lost_outputs)
    report.lost = len(lost)
    _, wanted = await attendance.read(count_images)
    if not attendance.keys:
        report.unfetched = len(broken) + wanted
        report.no_key = report.unfetched > 0
    elif desk.stop.code is None:
        again = [(one.file.output_seq, one.file.job_seq, one.words) for one in broken] + lost
        await _want_again(attendance, again)
        _, before = await attendance.read(count_images)
        await attendance.follow(adopting=(), patience_s=math.inf, sweeping=False)
        _, report.unfetched = await attendance.read(count_images)
        report.fetched = before - report.unfetched
    else:
        report.unfetched = len(broken) + wanted
    report.strays = await without_sidecars(attendance, await _strays(attendance))
    if desk.settings.sink.sidecar and desk.stop.code is None:
        report.sidecars = await write_missing(attendance)


async def _broken(attendance: Attendance, report: RepairReport) -> list[Fault]:
    """Every stored output whose file is not whole."""
    desk, images = attendance.desk, attendance.images
    broken: list[Fault] = []

    async def check(files: Sequence[StoredFile]) -> None:
        if desk.stop.code is None:
            broken.extend(await desk.seams.blocking(partial(faults, images, files)))
            report.checked += len(files)

    async for page in _stored(attendance):
        batches = [page[start : start + _BATCH] for start in range(0, len(page), _BATCH)]
        await each(batches, check, at_once=_READERS)
    broken.sort(key=lambda fault: fault.file.output_seq)
    report.missing = [fault.file.path for fault in broken if fault.kind == "missing"]
    report.corrupt = [fault.file.path for fault in broken if fault.kind == "corrupt"]
    return broken


async def _stored(attendance: Attendance) -> AsyncIterator[list[StoredFile]]:
    after = -1
    while page := await attendance.read(partial(stored_after, after=after)):
        yield page
        after = page[-1].output_seq


async def _want_again(attendance: Attendance, outputs: Sequence[tuple[int, int, str]]) -> None:
    """Output, job and why, job by job."""
    desk = attendance.desk
    by_job: dict[int, list[tuple[int, str]]] = {}
    for output, job, words in outputs:
        by_job.setdefault(job, []).append((output, words))

    async def want(job: tuple[int, list[tuple[int, str]]]) -> None:
        await desk.ledger.apply(WantAgain(desk.seams.clock.now(), *job))

    await each(by_job.items(), want, at_once=64)


async def _strays(attendance: Attendance) -> list[str]:
    """Files in `images/` that no output names."""
    found: list[str] = []
    paths = attendance.images.paths()
    while page := await attendance.desk.seams.blocking(lambda: list(islice(paths, _PATHS))):
        found += await attendance.read(partial(unnamed, paths=page))
    return found
