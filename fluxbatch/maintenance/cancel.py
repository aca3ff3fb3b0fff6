"""`cancel`: the provider is asked to stop what runs, and what comes of it is kept.

Owns who is asked about. What was found by its input alone may be a colleague's and is spared.
Money stays reserved until the provider says how a prediction ended. Source: protocol.md 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fluxbatch.domain.job import PredictionId, PredictionState
from fluxbatch.engine.session import Outside
from fluxbatch.errors import ApiError, KeyRefused
from fluxbatch.events import Events
from fluxbatch.infra.runtime import Seams
from fluxbatch.ledger.operations.maintenance import BY_INPUT, AskedToStop
from fluxbatch.ledger.queries.audit import count_images, live_now, states_of
from fluxbatch.ledger.queries.recovery import LivePrediction, live_predictions
from fluxbatch.ledger.queries.totals import totals
from fluxbatch.maintenance.reports import CancelReport
from fluxbatch.maintenance.session import Attendance, Request, attend, each

WAIT_S = 60.0
"""How long what was asked to stop is followed: a provider that ignores it needs some 10 s."""

P = PredictionState


async def cancel(
    request: Request,
    events: Events,
    *,
    wait_s: float = WAIT_S,
    seams: Seams | None = None,
    outside: Outside | None = None,
    handle_signals: bool = False,
) -> CancelReport:
    """Ask for what runs to stop, and follow it to its end for *wait_s* at most.

    Raises `FluxbatchError` where it could not begin, `HeldElsewhere` while a run goes on.
    """
    return await attend(
        request,
        events,
        partial(_cancel, wait_s=wait_s),
        CancelReport(),
        seams=seams,
        outside=outside,
        handle_signals=handle_signals,
    )


async def _cancel(attendance: Attendance, report: CancelReport, *, wait_s: float) -> None:
    await attendance.audit_books()
    images_before, _ = await attendance.read(count_images)
    live = [one for one in await attendance.read(live_predictions) if one.state is P.RUNNING]
    await each([one for one in live if one.adopted != BY_INPUT], partial(_ask, attendance, report))
    report.spared = sum(one.adopted == BY_INPUT for one in live)
    was_cut = await attendance.follow(adopting=(P.RUNNING,), patience_s=wait_s)
    await _count(attendance, report, [one.seq for one in live])
    report.no_key = report.running > 0 and not was_cut
    images, report.unfetched = await attendance.read(count_images)
    report.fetched = images - images_before


async def _ask(attendance: Attendance, report: CancelReport, one: LivePrediction) -> None:
    """By the key that made it, else another of its account."""
    desk = attendance.desk
    if one.provider_id is None or desk.stop.code is not None:
        return
    names = [name for name, account in desk.accounts.items() if account == one.account]
    names.sort(key=lambda name: name != one.key_fingerprint)
    refusal = f"no key may stop predictions of key {one.key_label!r}"
    for name in names:
        try:
            await desk.clients[name].cancel(PredictionId(one.provider_id))
        except KeyRefused as exc:
            refusal = str(exc)
        except ApiError as exc:
            refusal = str(exc)
            break
        else:
            await desk.ledger.apply(AskedToStop(desk.seams.clock.now(), one.seq))
            report.asked += 1
            return
    report.refused.append(refusal)


async def _count(attendance: Attendance, report: CancelReport, asked: Sequence[int]) -> None:
    """What became of them, and what there is now."""
    states = await attendance.read(partial(states_of, seqs=asked))
    report.cancelled = states.count(P.CANCELLED)
    report.finished = states.count(P.SUCCEEDED)
    report.running = states.count(P.RUNNING)
    report.failed = len(states) - report.cancelled - report.finished - report.running
    now = await attendance.read(live_now)
    report.unknown = sum(one.state is not P.RUNNING for one in now)
    report.totals = await attendance.read(totals)
