"""The recovery of window entries from earlier processes, by both clocks.

Owns the one judgement of how old a recorded moment is. Same boot: boot time decides.
Otherwise UTC, and the future counts as now; but UTC may have jumped while the machine was
down, and what an earlier boot did is only known to be as old as this boot.
Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from typing import NamedTuple

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.scheduler.window import CreateWindow


class SeenCreate(NamedTuple):
    """A create an earlier process made."""

    intended: Timestamp
    answered: Timestamp | None
    given_up: Timestamp | None = None
    """Both None: a crash hides how it went on."""


def age_s(then: Timestamp, now: Timestamp) -> float:
    """Seconds that have certainly passed from *then* to *now*, never negative."""
    if then.boot_id == now.boot_id:
        return max(now.boot_s - then.boot_s, 0.0)
    return max(min((now.utc - then.utc).total_seconds(), now.boot_s), 0.0)


def counts_from_s(
    create: SeenCreate, now: Timestamp, monotonic: float, *, lag_s: float, longest_s: float
) -> float:
    """The monotonic moment from which *create* counts for one window more.

    *longest_s* is how long after its intent a process that lives gives a create up; what a crash
    hides was given up by then, or by now.
    """
    if create.answered is not None:
        return monotonic - age_s(create.answered, now)
    if create.given_up is not None:
        return monotonic - age_s(create.given_up, now) + lag_s
    return monotonic - max(age_s(create.intended, now) - longest_s, 0.0) + lag_s


def close_for_a_window(window: CreateWindow, monotonic: float) -> None:
    """Nothing is known of the last window: act as if it were full."""
    for _ in range(window.limit):
        window.remember(monotonic)
