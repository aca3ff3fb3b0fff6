"""The text form of times in the ledger.

Owns that form (RFC 3339, UTC, microseconds, fixed width: texts
sort as times do) and the boot clock's integer microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from fluxbatch.infra.runtime import Timestamp

_UTC_SUFFIX = len("+00:00")


def utc_text(at: datetime | Timestamp) -> str:
    return _text(at.utc if isinstance(at, Timestamp) else at)


@lru_cache(maxsize=64)  # one operation writes its moment into several rows
def _text(at: datetime) -> str:
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-_UTC_SUFFIX] + "Z"


def parse_utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


def boot_us(at: Timestamp) -> int:
    return int(at.boot_s * 1_000_000)


def later(at: Timestamp, seconds: float) -> Timestamp:
    """The moment *seconds* after *at* on both clocks."""
    return Timestamp(at.utc + timedelta(seconds=seconds), at.boot_id, at.boot_s + seconds)
