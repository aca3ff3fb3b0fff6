"""One process of the engine, from its start to its end or its crash.

Owns the crash: from that instant no byte reaches ledger, disk or network, whatever any
`finally` does. Every place where a process may die is a *step* with a name; which one is
its last is decided by its doom. Source: docs/design/protocol.md 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

import anyio
import anyio.lowlevel

from fluxbatch.ledger.operations.transitions import Transition
from fluxbatch.ledger.writer import commit_trip

T = TypeVar("T")


class Dead(BaseException):
    """The process is gone; what still runs of it can do nothing any more."""


@dataclass(frozen=True, slots=True)
class Doom:
    """How a process ends before its time; nothing set: it doesn't."""

    step: str = ""
    """Die at the *number*th step whose name begins so ("": at any)."""
    number: int | None = None
    at_s: float | None = None
    """Seconds after its start."""
    turn: int | None = None
    """At this turn of the loop after its start: that is, at any await."""
    is_power_cut: bool = False
    """The machine goes down: what was not synced may be lost or torn."""


def _operations_in(call: Callable[[], object]) -> list[str]:
    """What the ledger's trip writes: the operations' names, a prediction's event with its own."""
    if not isinstance(call, partial) or call.func is not commit_trip:
        return []
    return [
        f"{type(one).__name__} {one.event.value}"
        if isinstance(one, Transition)
        else type(one).__name__
        for one in call.args[1]
    ]


class Life:
    """A process. Its seams ask it before they do anything."""

    def __init__(
        self, doom: Doom, random: Random, note: Callable[[str], None], slowness: float
    ) -> None:
        self.doom = doom
        self.dead = False
        self.died_at = ""
        self.scope = anyio.CancelScope()
        self.on_death: list[Callable[[], None]] = []
        self.after_call: list[Callable[[], None]] = []
        """Called after every blocking call: the ledger may have changed."""
        self.on_step: Callable[[str], None] | None = None
        self._random = random
        self._note = note
        self._slowness = slowness
        self._count = 0
        self._turns = 0

    def step(self, name: str) -> None:
        """A point where the process may die; raises `Dead` if it does, or already has."""
        if self.dead:
            raise Dead(name)
        if self.on_step is not None:
            self.on_step(name)
            if self.dead:
                raise Dead(name)
        if self.doom.number is not None and name.startswith(self.doom.step):
            self._count += 1
            if self._count == self.doom.number:
                self.die(name)
                raise Dead(name)

    def turn(self) -> None:
        """One turn of the loop."""
        self._turns += 1
        if self._turns == self.doom.turn and not self.dead:
            self.die("a turn of the loop")

    def die(self, where: str) -> None:
        """Close the seams, then discard the engine."""
        if self.dead:
            return
        self.dead = True
        self.died_at = where
        self._note(f"crash at {where}")
        for hook in self.on_death:
            hook()
        self.scope.cancel()

    async def to_thread(self, call: Callable[[], T], /) -> T:
        """The seam: inline, but as long as a thread would take, and never cut short by a cancel."""
        self.step("call")
        await anyio.lowlevel.checkpoint()
        before_s, after_s = self._slow_s(), self._slow_s()
        if before_s:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(before_s)
        names = _operations_in(call)
        for name in ("", *names):
            self.step(f"call: before {name}")
        try:
            result = call()
        finally:
            for hook in self.after_call:
                hook()
        for name in ("", *names):
            self.step(f"call: after {name}")
        if after_s:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(after_s)
        if self.dead:
            raise Dead("its answer came too late")
        return result

    def _slow_s(self) -> float:
        """Most calls take no time to speak of, a few take long enough to be late for anything."""
        draw = self._random.random()
        if draw >= self._slowness:
            return 0.0
        return 8 * self._random.random() if draw < 0.03 * self._slowness else 0.3 * draw
