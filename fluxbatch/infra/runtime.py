"""The runtime seams that a test must control: time, chance, blocking work.

Owns the three seams that `engine` passes in everywhere and their real
implementations. The simulation swaps all three: virtual time, a seeded
generator, and blocking calls run inline. Source: docs/design/protocol.md 8.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol, TypeVar

import anyio.to_thread

T = TypeVar("T")


class Timestamp(NamedTuple):
    """One instant on the two clocks that outlive a process."""

    utc: datetime
    boot_id: str
    boot_s: float
    """CLOCK_BOOTTIME: seconds since boot, sleep included; comparable within one boot id."""


class Clock(Protocol):
    """Monotonic seconds for intervals, moments for records."""

    def monotonic(self) -> float: ...

    def now(self) -> Timestamp: ...


class ToThread(Protocol):
    """Runs a call that may block (ledger, files, decoding) without stopping the loop."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


class Runtime(NamedTuple):
    """What `engine` passes on."""

    clock: Clock
    random: Random
    to_thread: ToThread


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._boot_id = _boot_id()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> Timestamp:
        return Timestamp(datetime.now(UTC), self._boot_id, _boot_s())


def real_runtime() -> Runtime:
    return Runtime(SystemClock(), Random(), in_thread)


def loop_options() -> dict[str, Any]:
    """For `anyio.run`: uvloop where it is installed (`pip install 'fluxbatch-engine[fast]'`)."""
    return {"use_uvloop": find_spec("uvloop") is not None}


async def in_thread(call: Callable[[], T], /) -> T:
    """Run *call* in a worker thread. A cancelled caller leaves only once the call has ended."""
    return await anyio.to_thread.run_sync(call)


def _boot_s() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux only
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # Elsewhere two boots look the same, so every restart of the process counts as a new one.
        return f"process-{time.time_ns()}"
