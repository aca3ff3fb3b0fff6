"""Virtual time: hours of waiting in milliseconds, and clocks that jump when told to.

Owns the loop that leaps to its next timer whenever every task is blocked, and the clock
that the engine is given under it. No thread may work here: a second of its time would be a
leap of hours. Source: docs/design/protocol.md 8.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fluxbatch.infra.runtime import Timestamp

T = TypeVar("T")

EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

_TICK_S = 1e-6  # time never stands still, or float rounding could spin for ever


class Deadlock(AssertionError):
    """Every task is blocked and no timer is set: this would hang for ever."""


class Endless(AssertionError):
    """Virtual time or turns beyond all reason: something never comes to its end."""


class AutojumpLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer whenever every task is blocked."""

    def __init__(self, *, most_s: float = 1e9, most_turns: int = 10**9) -> None:
        self._now = 0.0
        self.most_s = most_s
        self.most_turns = most_turns
        self.turns = 0
        self.on_turn: Callable[[], None] | None = None
        """Called before every turn of the loop."""
        super().__init__(_AutojumpSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def turn(self) -> None:
        self.turns += 1
        if self._now > self.most_s or self.turns > self.most_turns:
            raise Endless(f"no end after {self._now:,.0f} s and {self.turns:,} turns of the loop")
        if self.on_turn is not None:
            self.on_turn()


class _AutojumpSelector(selectors.DefaultSelector):
    def __init__(self, loop: AutojumpLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.turn()
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("every task is blocked and no timer is set")
        self._loop.jump(max(timeout, _TICK_S))
        return ready


def run_virtually(
    main: Callable[[AutojumpLoop], Coroutine[Any, Any, T]],
    *,
    most_s: float = 1e9,
    most_turns: int = 10**9,
) -> T:
    """Run *main* to its end under a virtual loop of its own, which it is given."""
    loop = AutojumpLoop(most_s=most_s, most_turns=most_turns)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main(loop))
        finally:
            # What is left is cancelled by the runner, and may take as long as it likes.
            loop.most_s, loop.most_turns, loop.on_turn = 1e12, 10**12, None


class VirtualClock:
    """A `fluxbatch.infra.runtime.Clock`: three clocks of one machine, each with its own troubles.

    Sleep adds to UTC and the boot clock but not to the monotonic one; a jump moves UTC alone; a
    reboot begins the boot clock anew.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, skew_s: float = 0.0) -> None:
        self._loop = loop
        self._utc_ahead_s = skew_s
        self._slept_s = 0.0
        self._boots = 1
        self._booted_at = -1000.0

    def monotonic(self) -> float:
        return self._loop.time()

    def now(self) -> Timestamp:
        real_s = self.real_s()
        utc = EPOCH + timedelta(seconds=real_s + self._utc_ahead_s)
        return Timestamp(utc, f"boot-{self._boots}", real_s - self._booted_at)

    def real_s(self) -> float:
        """Time as the rest of the world sees it: it passes while the machine sleeps."""
        return self._loop.time() + self._slept_s

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._utc_ahead_s += seconds

    def sleep(self, seconds: float) -> None:
        """The lid is closed for a while."""
        self._slept_s += seconds

    def reboot(self) -> None:
        self._boots += 1
        self._booted_at = self.real_s()
