"""`reconcile`: the ledger settled and audited against the provider's own record.

Owns the order: what is unknown is found or proved absent first, so that it is no orphan; then
costs, late successes and orphans; what turned up is fetched last. Never creates anything.
"""

from __future__ import annotations

from functools import partial

import anyio

from fluxbatch.domain.job import PredictionState
from fluxbatch.engine.session import DatasetRequest, Network, RunSession
from fluxbatch.errors import DatabaseFailed, LedgerError
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.queries.audit import Live, count_images, live_now, price_drift, states_of
from fluxbatch.ledger.queries.totals import totals
from fluxbatch.maintenance.audit import Audit
from fluxbatch.maintenance.orphans import Orphans
from fluxbatch.maintenance.reports import ReconcileReport
from fluxbatch.maintenance.session import follow_live, open_session
from fluxbatch.maintenance.undecided import ByHand, undecided

_P = PredictionState


async def reconcile_dataset(
    request: DatasetRequest,
    events: Events,
    *,
    adopt: bool = False,
    by_hand: ByHand | None = None,
    runtime: Runtime | None = None,
    network: Network | None = None,
    handle_signals: bool = False,
) -> ReconcileReport:
    """Settle and audit a dataset; with *adopt*, take in what was paid and is unknown here.

    *by_hand* is the user's word on creates that stay unknown; `ConfigError` where it fits nothing.

    Raises `FluxbatchError` where it could not begin; everything else is in the report.
    """
    return await open_session(
        request,
        events,
        partial(_reconcile, adopt=adopt, by_hand=by_hand or ByHand()),
        ReconcileReport(),
        runtime=runtime,
        network=network,
        handle_signals=handle_signals,
    )


async def _reconcile(
    session: RunSession, report: ReconcileReport, *, adopt: bool, by_hand: ByHand
) -> None:
    context = session.context
    if not await _books_agree(session, report):
        return
    await by_hand.apply(session)
    images_before, _ = await session.context.read(count_images)
    live = await session.context.read(live_now)
    patience_s = context.settings.reconcile.patience
    was_cut = await follow_live(session, patience_s=patience_s)
    if context.stop.code is None:
        with anyio.CancelScope() as auditing:
            context.stop.on_stop(auditing.cancel)
            await _audit(session, report, adopt=adopt)
    if report.recovered or any(orphan.was_adopted for orphan in report.orphans):
        was_cut |= await follow_live(
            session, adopting=(_P.RUNNING,), patience_s=patience_s, sweeping=False
        )
    await _count(session, report, live)
    report.undecided = await undecided(session)
    shown = {choice.provider_id for one in report.undecided for choice in one.choices}
    report.strangers = max(report.strangers - len(shown), 0)
    report.no_key |= report.running > 0 and not was_cut
    images, report.unfetched = await session.context.read(count_images)
    report.fetched = images - images_before
    await _books_agree(session, report)


async def _audit(session: RunSession, report: ReconcileReport, *, adopt: bool) -> None:
    audit = Audit(session, report)
    await audit.run()
    orphans = Orphans(session, report)
    await orphans.run(audit.unborne, adopt=adopt)
    report.drift = await session.context.read(price_drift)


async def _books_agree(session: RunSession, report: ReconcileReport) -> bool:
    try:
        await session.context.read(budgets.audit)
    except DatabaseFailed:
        raise
    except LedgerError as exc:
        report.books = str(exc)
    return report.books is None


async def _count(session: RunSession, report: ReconcileReport, live: list[Live]) -> None:
    """What became of the creates whose outcome was unknown, and what there is now."""
    unsure = [one.seq for one in live if one.state is not _P.RUNNING]
    states = await session.context.read(partial(states_of, seqs=unsure))
    report.absent = states.count(_P.ABSENT)
    report.found = sum(state not in {_P.UNKNOWN, _P.SUBMITTING, _P.ABSENT} for state in states)
    now = [one.state for one in await session.context.read(live_now)]
    report.running = now.count(_P.RUNNING)
    report.unknown = len(now) - report.running
    report.totals = await session.context.read(totals)
