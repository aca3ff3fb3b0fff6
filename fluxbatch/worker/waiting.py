"""The reasons why no create leaves though jobs wait: what holds a lane up, in words.

Reads lanes and unknown creates as they are at this moment, and changes nothing.
"""

from __future__ import annotations

from datetime import timedelta

from fluxbatch.domain.control import because
from fluxbatch.scheduler.lane import Lane
from fluxbatch.scheduler.slot_holders import Holder, holders_words, kept_holder
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.unknown.resolve import UnknownResolver

_AT_ONCE_S = 1.0


def why_nothing_leaves(context: WorkerContext, resolver: UnknownResolver) -> str:
    """Empty where creates leave, where none waits, and where our own predictions fill the slots."""
    if context.stop.code is not None:
        return ""
    if context.queue.blocked_by:
        return f"{context.queue.blocked_by}; what runs may free some"
    if context.lanes.suspended is not None:
        return f"paused by fluxbatch ctl{because(context.lanes.suspended)}"
    if context.standing_by:
        return context.standing_by
    if not context.lanes.waiting:
        return ""
    now, words = context.now_s(), list[str]()
    for lane in context.lanes.all:
        wait_s = lane.wait_s(now)
        if wait_s is not None and wait_s < _AT_ONCE_S:
            return ""
        words.append(_held_up_by(context, resolver, lane, now))
    return "; ".join(filter(None, words))


def _held_up_by(context: WorkerContext, resolver: UnknownResolver, lane: Lane, now: float) -> str:
    if lane.is_out:
        return ""
    if lane.is_off:
        return f"lane {lane.label} is off by fluxbatch ctl"
    if lane.unpaid is not None:
        return f"lane {lane.label} waits for balance: {lane.unpaid[1]}"
    if lane.held >= lane.slots.allowed(now):
        return holders_words(lane.slots.limit, _holders(context, resolver, lane))
    if lane.paused_until > now:
        why = f" ({lane.reported_pause[0]})" if lane.reported_pause is not None else ""
        return f"lane {lane.label} is paused for {lane.paused_until - now:.0f} s{why}"
    window_s = lane.window.wait_s(now)
    if window_s is None or window_s >= _AT_ONCE_S:
        most, length_s = lane.creates.limit, lane.window.window_s
        until = f"; the next in {window_s:.0f} s" if window_s is not None else ""
        return f"{most} creates in {length_s:g} s are all made{until}"
    return ""


def _holders(context: WorkerContext, resolver: UnknownResolver, lane: Lane) -> list[Holder]:
    """All but our own predictions that run, which end by themselves."""
    deadline_s = context.settings.provider.deadline
    others = [kept_holder(kept, until, deadline_s) for kept, until in lane.others.values()]
    longest = timedelta(seconds=deadline_s)
    ours = [
        Holder("", False, one.intended.utc, (one.given_up or one.intended).utc + longest)
        for one in resolver.unanswered(lane.account)
    ]
    return others + ours
