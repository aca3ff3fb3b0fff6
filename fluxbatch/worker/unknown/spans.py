"""The spans in which the provider can have accepted a create, by its own clock.

Owns the step from what was written down of a create (intent, leaving, giving up) to the span in
which a listing would date it. Source: docs/design/protocol.md 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from fluxbatch.domain.job import PredictionState
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.infra.shared_clock import STEP_S
from fluxbatch.ledger.db.timestamps import later
from fluxbatch.ledger.queries.recovery import LivePrediction
from fluxbatch.scheduler.lane_state_file import KeptCreate
from fluxbatch.worker.context import SEND_WITHIN_S, Sending, WorkerContext
from fluxbatch.worker.unknown.evidence import AcceptanceSpan
from fluxbatch.worker.unknown.listing import MARGIN_S

_UNSURE_S = 86_400.0
_ANOTHERS = -1


@dataclass(frozen=True, slots=True)
class Tried:
    """A create, as far as its time is known."""

    create: int
    account: str
    model: str
    intended: Timestamp
    left: Timestamp | None = None
    given_up: Timestamp | None = None
    is_going_on: bool = False
    """Its answer may still come."""


def of_sending(create: int, one: Sending) -> Tried:
    return Tried(create, one.account, one.model, one.intended, one.left, is_going_on=True)


def of_live(one: LivePrediction) -> Tried:
    """Another process's of the same run, as far as the ledger has it."""
    is_going_on = one.state is PredictionState.SUBMITTING
    return Tried(
        one.seq, one.account, one.job.model, one.intended, one.left, one.given_up, is_going_on
    )


def kept_span(account: str, one: KeptCreate) -> Tried:
    """Another dataset's that is not known to have been answered; by the clock of *account*."""
    return Tried(_ANOTHERS, account, "", one.at)


def span_of(context: WorkerContext, one: Tried, now: Timestamp) -> AcceptanceSpan:
    """When it can have been accepted; by the clock of its own boot, else by whole seconds."""
    account = "" if one.create == _ANOTHERS else one.account
    begin, near, late = _bounds(context, one, now)
    is_hidden = one.left is None
    clock = context.clocks.get(one.intended.boot_id)
    told = clock.span(begin.boot_s, near.boot_s) if clock is not None else None
    told_late = clock.span(begin.boot_s, late.boot_s) if clock is not None and late else None
    if told is not None:
        # So little of a step of a shared clock is not seen.
        unsure = timedelta(seconds=STEP_S if context.is_shared else 0.0)
        until = told_late and told_late[1] + unsure
        return AcceptanceSpan(
            one.create, account, one.model, told[0] - unsure, told[1] + unsure, until, is_hidden
        )
    earliest = earliest_of(context, one.account, one.intended)
    margin = timedelta(seconds=MARGIN_S + context.settings.provider.timeout)
    if one.intended.boot_id != now.boot_id:  # dated by a wall clock that may have been wrong
        booted = context.by_provider(one.account, Timestamp(now.utc, now.boot_id, 0.0)) + margin
        gone = booted + timedelta(seconds=context.settings.provider.timeout)
        lag = timedelta(seconds=context.settings.reconcile.lag)
        known = bool(context.dates)  # else even this boot's beginning is anybody's guess
        latest = gone + lag if known else None
        return AcceptanceSpan(one.create, account, one.model, earliest, None, latest, is_hidden)
    latest = context.by_provider(one.account, late) + margin if late else None
    near_to = context.by_provider(one.account, near) + margin
    return AcceptanceSpan(one.create, account, one.model, earliest, near_to, latest, is_hidden)


def _bounds(
    context: WorkerContext, one: Tried, now: Timestamp
) -> tuple[Timestamp, Timestamp, Timestamp | None]:
    """When it left at the earliest, was waited for alone, and can have arrived at the latest."""
    begin = one.left or one.intended
    left_by = one.left or later(one.intended, SEND_WITHIN_S)
    near = later(left_by, context.serial.bound_s)
    if one.given_up is not None and one.given_up.boot_id == begin.boot_id:
        near = min(near, one.given_up, key=lambda at: at.boot_s)
    if one.is_going_on:
        if now.boot_id == near.boot_id:
            near = min(near, now, key=lambda at: at.boot_s)
        return begin, near, None
    # As long as absence waits: whatever arrives till then may be this one, however early it left.
    return begin, near, later(one.intended, context.late_s)


def earliest_of(context: WorkerContext, account: str, intended: Timestamp) -> datetime:
    """No listing dates its creation earlier than this.

    What an earlier boot intended is dated by the wall clock alone, which may have been wrong
    by hours until somebody set it.
    """
    now = context.runtime.clock.now()
    at = context.by_provider(account, intended)
    if intended.boot_id == now.boot_id:
        return at - timedelta(seconds=MARGIN_S)
    at = min(at, context.by_provider(account, now))
    return at - timedelta(seconds=_UNSURE_S)
