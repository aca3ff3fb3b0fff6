"""`cancel`: the provider is asked to stop what runs, and what comes of it is kept.

Owns who is asked about. What was found by its input or time alone is spared: perhaps a colleague's.
Money stays reserved until the provider says how a prediction ended. Source:
docs/design/protocol.md 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fluxbatch.domain.adoption import PRESUMED
from fluxbatch.domain.job import PredictionId, PredictionState
from fluxbatch.engine.session import DatasetRequest, Network, RunSession
from fluxbatch.errors import ApiError, KeyRefused
from fluxbatch.events import Events
from fluxbatch.infra.concurrency import for_each
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.maintenance import RecordCancelRequest
from fluxbatch.ledger.queries.audit import count_images, live_now, states_of
from fluxbatch.ledger.queries.recovery import LivePrediction, live_predictions
from fluxbatch.ledger.queries.totals import totals
from fluxbatch.maintenance.reports import CancelReport
from fluxbatch.maintenance.session import follow_live, open_session

WAIT_S = 60.0
"""How long what was asked to stop is followed: a provider that ignores it needs some 10 s."""

_P = PredictionState


async def cancel_dataset(
    request: DatasetRequest,
    events: Events,
    *,
    wait_s: float = WAIT_S,
    runtime: Runtime | None = None,
    network: Network | None = None,
    handle_signals: bool = False,
) -> CancelReport:
    """Ask for what runs to stop, and follow it to its end for *wait_s* at most.

    Raises `FluxbatchError` where it could not begin, `HeldElsewhere` while a run goes on.
    """
    return await open_session(
        request,
        events,
        partial(_cancel, wait_s=wait_s),
        CancelReport(),
        runtime=runtime,
        network=network,
        handle_signals=handle_signals,
    )


async def _cancel(session: RunSession, report: CancelReport, *, wait_s: float) -> None:
    await session.context.read(budgets.audit)
    images_before, _ = await session.context.read(count_images)
    live = [one for one in await session.context.read(live_predictions) if one.state is _P.RUNNING]
    await for_each(
        [one for one in live if one.adopted not in PRESUMED], partial(_ask, session, report)
    )
    report.spared = sum(one.adopted in PRESUMED for one in live)
    was_cut = await follow_live(session, adopting=(_P.RUNNING,), patience_s=wait_s)
    await _count(session, report, [one.seq for one in live])
    report.no_key = report.running > 0 and not was_cut
    images, report.unfetched = await session.context.read(count_images)
    report.fetched = images - images_before


async def _ask(session: RunSession, report: CancelReport, one: LivePrediction) -> None:
    """By the key that made it, else another of its account."""
    context = session.context
    if one.provider_id is None or context.stop.code is not None:
        return
    names = [name for name, account in context.accounts.items() if account == one.account]
    names.sort(key=lambda name: name != one.key_fingerprint)
    refusal = f"no key may stop predictions of key {one.key_label!r}"
    for name in names:
        try:
            await context.clients[name].cancel(PredictionId(one.provider_id))
        except KeyRefused as exc:
            refusal = str(exc)
        except ApiError as exc:
            refusal = str(exc)
            break
        else:
            await context.ledger.apply(RecordCancelRequest(context.runtime.clock.now(), one.seq))
            report.asked += 1
            return
    report.refused.append(refusal)


async def _count(session: RunSession, report: CancelReport, asked: Sequence[int]) -> None:
    """What became of them, and what there is now."""
    states = await session.context.read(partial(states_of, seqs=asked))
    report.cancelled = states.count(_P.CANCELLED)
    report.finished = states.count(_P.SUCCEEDED)
    report.running = states.count(_P.RUNNING)
    report.failed = len(states) - report.cancelled - report.finished - report.running
    now = await session.context.read(live_now)
    report.unknown = sum(one.state is not _P.RUNNING for one in now)
    report.totals = await session.context.read(totals)
