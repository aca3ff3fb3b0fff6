"""The provider's one source of time, and its calendar.

Everything is a reading of the monotonic clock that was passed in; UTC is that reading
added to the moment the provider began, so a jump of the wall clock cannot reorder it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class ProviderClock:
    def __init__(self, monotonic: Callable[[], float], began: datetime) -> None:
        self._monotonic = monotonic
        self._origin = monotonic()
        self._began = began.astimezone(UTC)
        self._date = (-1, "")

    def now(self) -> float:
        """Seconds since the provider began."""
        return self._monotonic() - self._origin

    def utc(self, at: float) -> datetime:
        """What the calendar said at *at*, to the millisecond."""
        moment = self._began + timedelta(seconds=at)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def unix(self, at: float) -> float:
        return self._began.timestamp() + at

    def stamp(self, at: float) -> str:
        """RFC 3339, as JSON bodies write it."""
        return self.utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def http_date(self) -> str:
        """The `Date` header of a reply that leaves now."""
        second = int(self.unix(self.now()))
        if self._date[0] != second:
            moment = datetime.fromtimestamp(second, UTC)
            self._date = (second, format_datetime(moment, usegmt=True))
        return self._date[1]


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time; raises `ValueError`, also for one without an offset."""
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return moment
