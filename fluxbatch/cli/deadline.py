"""The moment a run must end: `--max-duration` and `--deadline` as one time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from fluxbatch.config.types import seconds
from fluxbatch.errors import ConfigError


def ends_at(max_duration: str, deadline: str, now: datetime) -> datetime | None:
    """The earlier of the two; None where neither is given.

    *max_duration* counts from *now* (`6h`, `90m`); *deadline* is the next such time of day on this
    machine's clock (`06:00`), or a full ISO 8601 moment. Raises `ConfigError`.
    """
    moments = []
    if max_duration:
        moments.append(now + timedelta(seconds=_duration_s(max_duration)))
    if deadline:
        moments.append(_next(deadline, now.astimezone()))
    return min(moments, default=None)


def _duration_s(text: str) -> float:
    try:
        value = seconds(text)
    except ValueError as exc:
        raise ConfigError(f"--max-duration: {exc}") from None
    assert isinstance(value, float)
    return value


def _next(text: str, now: datetime) -> datetime:
    wrong = ConfigError(f"--deadline: {text!r} is no time; write 06:00 or 2026-11-22T06:00")
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = (int(part) for part in text.split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return moment if moment > now else moment + timedelta(days=1)
        moment = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise wrong from None
    if moment <= now:
        raise ConfigError(f"--deadline: {text!r} has passed")
    return moment
