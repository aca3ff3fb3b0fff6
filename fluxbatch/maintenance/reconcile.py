"""`reconcile`: the ledger settled and audited against the provider's own record.

Owns the order: what is unknown is found or proved absent first, so that it is no orphan; then
costs, late successes and orphans; what turned up is fetched last. Never creates anything.
"""

from __future__ import annotations

from functools import partial

import anyio

from fluxbatch.domain.job import PredictionState
from fluxbatch.engine.session import Outside
from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Seams
from fluxbatch.ledger.queries.audit import Live, count_images, live_now, price_drift, states_of
from fluxbatch.ledger.queries.totals import totals
from fluxbatch.maintenance.audit import Audit
from fluxbatch.maintenance.orphans import Orphans
from fluxbatch.maintenance.reports import ReconcileReport
from fluxbatch.maintenance.session import Attendance, Request, attend

P = PredictionState


async def reconcile(
    request: Request,
    events: Events,
    *,
    adopt: bool = False,
    seams: Seams | None = None,
    outside: Outside | None = None,
    handle_signals: bool = False,
) -> ReconcileReport:
    """Settle and audit a dataset; with *adopt*, take in what was paid and is unknown here.

    Raises `FluxbatchError` where it could not begin; everything else is in the report.
    """
    return await attend(
        request,
        events,
        partial(_reconcile, adopt=adopt),
        ReconcileReport(),
        seams=seams,
        outside=outside,
        handle_signals=handle_signals,
    )


async def _reconcile(attendance: Attendance, report: ReconcileReport, *, adopt: bool) -> None:
    desk = attendance.desk
    if not await _books_agree(attendance, report):
        return
    images_before, _ = await attendance.read(count_images)
    live = await attendance.read(live_now)
    patience_s = desk.settings.reconcile.patience
    was_cut = await attendance.follow(patience_s=patience_s)
    if desk.stop.code is None:
        with anyio.CancelScope() as auditing:
            desk.stop.on_stop(auditing.cancel)
            await _audit(attendance, report, adopt=adopt)
    if report.recovered or any(orphan.was_adopted for orphan in report.orphans):
        was_cut |= await attendance.follow(
            adopting=(P.RUNNING,), patience_s=patience_s, sweeping=False
        )
    await _count(attendance, report, live)
    report.no_key |= report.running > 0 and not was_cut
    images, report.unfetched = await attendance.read(count_images)
    report.fetched = images - images_before
    await _books_agree(attendance, report)


async def _audit(attendance: Attendance, report: ReconcileReport, *, adopt: bool) -> None:
    audit = Audit(attendance, report)
    await audit.run()
    orphans = Orphans(attendance, report)
    await orphans.run(audit.unborne, adopt=adopt)
    report.drift = await attendance.read(price_drift)


async def _books_agree(attendance: Attendance, report: ReconcileReport) -> bool:
    try:
        await attendance.audit_books()
    except DatabaseFailed:
        raise
    except LedgerError as exc:
        report.books = str(exc)
    return report.books is None


async def _count(attendance: Attendance, report: ReconcileReport, live: list[Live]) -> None:
    """What became of the creates whose outcome was unknown, and what there is now."""
    unsure = [one.seq for one in live if one.state is not P.RUNNING]
    states = await attendance.read(partial(states_of, seqs=unsure))
    report.absent = states.count(P.ABSENT)
    report.found = sum(state not in {P.UNKNOWN, P.SUBMITTING, P.ABSENT} for state in states)
    now = [one.state for one in await attendance.read(live_now)]
    report.running = now.count(P.RUNNING)
    report.unknown = len(now) - report.running
    report.totals = await attendance.read(totals)
