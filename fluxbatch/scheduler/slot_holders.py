"""The holders of a lane's slots, in words, for whoever asks why nothing is created.

Owns the words alone: which creates hold them is the lane's to know while a run goes on, and its
file's for anybody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from fluxbatch.domain.formatting import shell_word
from fluxbatch.scheduler.lane_state_file import KeptCreate


class Holder(NamedTuple):
    """A create that holds a slot."""

    place: str
    """Its dataset; empty: this one."""
    is_answered: bool
    """It is known to run; else it may."""
    since: datetime
    until: datetime
    """When its slot is free at the latest."""


def kept_holder(kept: KeptCreate, until: datetime | None, deadline_s: float) -> Holder:
    """Another dataset's."""
    is_answered = kept.provider_id is not None
    longest = timedelta(seconds=deadline_s * (2 if is_answered else 1))
    return Holder(kept.place, is_answered, kept.at.utc, until or kept.at.utc + longest)


def holders_words(slots: int, holders: Iterable[Holder]) -> str:
    """`10 of 10 slots: creates of /data/a without an answer (sent 11:55); free at 12:10, …`."""
    groups: dict[tuple[str, bool], list[Holder]] = {}
    for one in holders:
        groups.setdefault((one.place, one.is_answered), []).append(one)
    return "; ".join(_group_words(slots, group) for group in groups.values())


def _group_words(slots: int, group: Sequence[Holder]) -> str:
    first = group[0]
    whose = f"of {first.place}" if first.place else "of this dataset"
    sent, free = _clock(one.since for one in group), max(one.until for one in group)
    begin = f"{len(group)} of {slots} slots:"
    if first.is_answered:
        return f"{begin} predictions {whose} that go on (since {sent})"
    begin = f"{begin} creates {whose} without an answer (sent {sent})"
    place = shell_word(first.place) if first.place else ""
    remedy = f", or `fluxbatch reconcile {place}`" if place else " at the latest"
    return f"{begin}; free at {free.astimezone():%H:%M}{remedy}"


def _clock(times: Iterable[datetime]) -> str:
    """`11:55`, or `11:55 to 12:02`."""
    inside = sorted(times)
    ends = list(dict.fromkeys(_minutes((inside[0], inside[-1]))))
    return " to ".join(ends)


def _minutes(times: Iterable[datetime]) -> Iterator[str]:
    return (f"{at.astimezone():%H:%M}" for at in times)
