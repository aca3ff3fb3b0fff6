"""The provider's clock beside ours, as closely as our own creates tell it.

Owns the bounds of their difference: every create of ours that a listing has was accepted
between leaving and its answer, and the listing says when that was by the provider's clock.
A `Date` header knows whole seconds alone. Source: docs/design/protocol.md 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

_KEPT = 64
_DRIFT = 1e-4
"""By how much the two clocks may run apart, as a part of the time that has passed."""
_MILLISECOND_US = 1_000


class Sighting(NamedTuple):
    """A create of ours in a listing; boot times in seconds of one boot."""

    provider_id: str
    left_s: float
    answered_s: float
    created: datetime
    """By the provider's clock."""


class _Bound(NamedTuple):
    at_s: float
    low: datetime
    """The provider's time at this boot's zero, at the earliest."""
    high: datetime


class _Agreed(NamedTuple):
    """Bounds that hold from the first to the last of some sightings."""

    first_s: float
    last_s: float
    low: datetime
    high: datetime


class ClockEstimate:
    """What the provider's clock said at a moment of one boot of this machine."""

    def __init__(self) -> None:
        self._bounds: dict[str, _Bound] = {}
        self._grain = timedelta(seconds=1)

    def saw(self, sightings: Iterable[Sighting]) -> None:
        """A listing had these."""
        found = list(sightings)
        if not found:
            return
        self._grain = grain_of(one.created for one in found)
        for one in found:
            low = one.created - timedelta(seconds=one.answered_s)
            high = one.created + self._grain - timedelta(seconds=one.left_s)
            self._bounds[one.provider_id] = _Bound(one.answered_s, low, high)
        latest = sorted(self._bounds.items(), key=lambda item: item[1].at_s)[-_KEPT:]
        self._bounds = dict(latest)

    def span(self, from_s: float, to_s: float) -> tuple[datetime, datetime] | None:
        """Between which times a listing dates what happened between two moments of the boot.

        None while no create of ours has told. Where the clock was set, what is told before and
        after counts, each for its time, and both for what lies between them.
        """
        agreeing = self._agreeing()
        if not agreeing:
            return None
        before = [one for one in agreeing if one.first_s <= to_s][-1:] or agreeing[:1]
        after = [one for one in agreeing if one.last_s >= from_s][:1] or agreeing[-1:]
        low = min(one.low for one in (*before, *after))
        high = max(one.high for one in (*before, *after))
        return low + timedelta(seconds=from_s) - self._grain, high + timedelta(seconds=to_s)

    def _agreeing(self) -> list[_Agreed]:
        """The narrowest bounds that sightings agree on which follow each other, oldest first."""
        found: list[_Agreed] = []
        for bound in sorted(self._bounds.values(), key=lambda bound: -bound.at_s):
            if found:
                later = found[-1]
                drift = timedelta(seconds=_DRIFT * (later.last_s - bound.at_s))
                low, high = max(later.low, bound.low - drift), min(later.high, bound.high + drift)
                if low <= high:
                    found[-1] = _Agreed(bound.at_s, later.last_s, low, high)
                    continue
            found.append(_Agreed(bound.at_s, bound.at_s, bound.low, bound.high))
        return found[::-1]


def grain_of(times: Iterable[datetime]) -> timedelta:
    """How coarsely a listing dates: by whole seconds, milliseconds or less."""
    micros = [at.microsecond for at in times]
    if not any(micros):
        return timedelta(seconds=1)
    if not any(us % _MILLISECOND_US for us in micros):
        return timedelta(milliseconds=1)
    return timedelta(microseconds=1)
