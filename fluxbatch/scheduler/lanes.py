"""The lanes of a process, and who waits for a permit on any of them.

Owns which waiter may create next and on which lane, decided synchronously over plain state:
a slot and an entry in the window are granted together, so no slot is held while a
window fills and no entry goes stale. Greedy: whatever may leave now leaves now.
Knows nothing of jobs, HTTP or the ledger. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from asyncio import Event
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Limits
from fluxbatch.events import Events, LaneChanged
from fluxbatch.infra.runtime import Clock
from fluxbatch.scheduler.lane import Lane, Permit

_SETTLE_WINDOWS = 1 / 30
"""Refusals this close to each other are one: 2 s of a minute's window."""

_PAUSE_429_S = 2.0
_SLOT_PAUSE_WINDOWS = 1 / 6
"""The longest pause where no slot was free: one of those that others hold is, within seconds."""


class _Waiter:
    __slots__ = ("event", "permit")

    def __init__(self) -> None:
        self.event = Event()
        self.permit: Permit | None = None


class Lanes:
    """Every lane of this process, and the waiters for a permit on any of them."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        limits: Limits,
        clock: Clock,
        lag_s: float,
        events: Events,
        all_out: Callable[[str], None],
    ) -> None:
        self.all = tuple(lanes)
        self._clock = clock
        self._lag_s = lag_s
        self._events = events
        self._all_out = all_out
        self._waiters: deque[_Waiter] = deque()
        self._changed = Event()
        self._closed = False
        self._without_lane: Counter[str] = Counter()
        """By account: slots of predictions that are alive, where no lane is ours (yet)."""
        self.suspended: str | None = None
        """Why nobody gets a permit, as somebody asked for; None: permits are given."""

    @property
    def waiting(self) -> int:
        """Jobs that would leave at once if there were room."""
        return len(self._waiters)

    def lane(self, account: str) -> Lane | None:
        return next((lane for lane in self.all if lane.account == account), None)

    def add(self, lane: Lane) -> None:
        """One more; what is alive of its account holds its slots from here on."""
        lane.held += self._without_lane.pop(lane.account, 0)
        self.all = (*self.all, lane)

    async def run(self) -> None:
        """Grant permits as they become possible, until cancelled."""
        while True:
            wait_s = self._grant()
            if wait_s is None:
                await self._changed.wait()
            else:
                with anyio.move_on_after(wait_s):
                    await self._changed.wait()
            self._changed = Event()

    @asynccontextmanager
    async def permit(self) -> AsyncIterator[Permit | None]:
        """Wait for a slot and an entry in the window; the slot is held until the end.

        None once nothing more may leave, or not from here.
        """
        waiter = _Waiter()
        if not self._closed:
            self._waiters.append(waiter)
            self._grant()  # what may leave now leaves now
            self.changed()
        try:
            if waiter.permit is None and not self._closed:
                await waiter.event.wait()
            if waiter.permit is not None:
                await waiter.permit.lane.bucket.acquire()
            yield waiter.permit
        finally:
            if waiter.permit is not None:
                waiter.permit.close()
                held_s = self._clock.monotonic() - waiter.permit.given_at
                waiter.permit.lane.pace.saw_slot_free(held_s)
                self._free(waiter.permit.lane)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)

    def suspend(self, reason: str | None) -> None:
        """Give no permit, whatever runs; None: give them again."""
        self.suspended = reason
        self.changed()

    def close(self) -> None:
        """Nothing more leaves: all waiters leave without a permit."""
        self._closed = True
        self.send_away()

    def send_away(self) -> None:
        """Who waits leaves without a permit; who comes after that waits."""
        while self._waiters:
            self._waiters.popleft().event.set()

    @asynccontextmanager
    async def held(self, account: str) -> AsyncIterator[None]:
        """The slot of a prediction that is alive already: taken even above the limit.

        Where the account has no lane here, it is one of the lane's that may still be added.
        """
        if (lane := self.lane(account)) is not None:
            lane.held += 1
        else:
            self._without_lane[account] += 1
        try:
            yield
        finally:
            if (lane := self.lane(account)) is not None:
                self._free(lane)
            else:
                self._without_lane[account] -= 1

    def changed(self) -> None:
        """Something happened that may make a permit possible."""
        if self._waiters:
            self._changed.set()

    def pause(self, lane: Lane, seconds: float, reason: str) -> None:
        """Nothing leaves on *lane* for a while."""
        now = self._clock.monotonic()
        if now + seconds > lane.paused_until:
            lane.paused_until = now + seconds
            if (
                lane.reported_pause is None
                or lane.reported_pause[0] != reason
                or (now - lane.reported_pause[1] >= lane.window.window_s)
            ):
                lane.reported_pause = (reason, now)
                self._events.emit(LaneChanged(lane.label, "paused", reason, seconds))
            self.changed()

    def refused(
        self, lane: Lane, told_s: float | None, reason: str, *, by_concurrency: bool
    ) -> None:
        """429: others use the key too, or the provider counts otherwise; use less for a while.

        The pause is the provider's own where it named one, else it doubles with every refusal in a
        row, up to a window: a provider that counts refused creates too is not kept busy by them.
        """
        if lane.refused_since is None:
            lane.refused_since = self._clock.monotonic()
        lane.refusals += 1
        doubled_s = _PAUSE_429_S * 2.0 ** min(lane.refusals - 1, 16)
        most_s = lane.window.window_s * (_SLOT_PAUSE_WINDOWS if by_concurrency else 1.0)
        pause_s = told_s if told_s is not None else min(doubled_s, most_s)
        allowance = lane.slots if by_concurrency else lane.creates
        now = self._clock.monotonic()
        settle_s = told_s if told_s is not None else _PAUSE_429_S
        if allowance.decrease(now, max(settle_s, lane.window.window_s * _SETTLE_WINDOWS)):
            what = "slots" if by_concurrency else "creates a window"
            message = f"{allowance.allowed(now)} of {allowance.limit} {what} after: {reason}"
            self._events.emit(LaneChanged(lane.label, "slowed", message))
        self.pause(lane, pause_s, reason)

    def key_out(self, lane: Lane, key: ApiKey, reason: str) -> None:
        """*key* creates nothing more; with its last key the lane is out."""
        if key in lane.keys:
            lane.keys.remove(key)
            health = "out" if lane.is_out else "a key is out"
            self._events.emit(LaneChanged(lane.label, health, f"key {key.label}: {reason}"))
            self.changed()
            if all(one.is_out for one in self.all):
                self._all_out(f"no usable key is left; key {key.label}: {reason}")

    def await_balance(self, lane: Lane, key: ApiKey, reason: str) -> None:
        """402: nothing leaves until a prediction of the lane settles; with none left: out."""
        if lane.unpaid is None:
            lane.unpaid = (key, reason)
            self._events.emit(LaneChanged(lane.label, "waits for balance", reason))

    def settled(self, lane: Lane) -> None:
        """A prediction of the lane has ended, so its balance may do again."""
        if lane.unpaid is not None:
            lane.unpaid = None
            self._events.emit(LaneChanged(lane.label, "working", "a prediction settled"))
            self.changed()

    def _free(self, lane: Lane) -> None:
        """A slot is free; with the last one nothing can settle any more that 402 waits for."""
        lane.held -= 1
        if lane.held == 0 and lane.unpaid is not None:
            (key, reason), lane.unpaid = lane.unpaid, None
            self.key_out(lane, key, reason)
        self.changed()

    def _grant(self) -> float | None:
        """Grant permits to the waiters; seconds until the next is possible, None for unknown."""
        now = self._clock.monotonic()
        while self._waiters and self.suspended is None:
            waits = [(w, lane.held / lane.slots.limit, i) for i, lane in enumerate(self.all)
                     if (w := lane.wait_s(now)) is not None]  # fmt: skip
            if not waits:
                return None
            wait_s, _, index = min(waits)
            if wait_s > 0:
                return wait_s
            self._give(self.all[index])
        return None

    def _give(self, lane: Lane) -> None:
        waiter = self._waiters.popleft()
        lane.held += 1
        lane.window.leave()
        waiter.permit = Permit(lane, self._clock, self._lag_s, self.changed)
        waiter.event.set()
