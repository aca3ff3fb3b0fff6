"""A lane: one account at work in this process. Its slots, its window, its keys, its health.

Owns which waiter may create next and on which lane, decided synchronously over plain state:
a slot and an entry in the window are granted together, so no slot is held while a
window fills and no entry goes stale. Greedy: whatever may leave now leaves now.
Knows nothing of jobs, HTTP or the ledger. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from asyncio import Event
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal

import anyio
from aiolimiter import AsyncLimiter

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Limits
from fluxbatch.events import Events, LaneChanged
from fluxbatch.infra.runtime import Clock
from fluxbatch.scheduler.adaptive_limit import AdaptiveLimit
from fluxbatch.scheduler.lane_state_file import KeptCreate
from fluxbatch.scheduler.serial import LanePace, SerialCreates
from fluxbatch.scheduler.window import CreateWindow

_SETTLE_WINDOWS = 1 / 30
"""Refusals this close to each other are one: 2 s of a minute's window."""

_PAUSE_429_S = 2.0
_SLOT_PAUSE_WINDOWS = 1 / 6
"""The longest pause where no slot was free: one of those that others hold is, within seconds."""
Answer = Literal["pending", "counted", "uncounted", "refused"]


class Lane:
    """Plain state; every change notifies `Lanes`, which grants what became possible."""

    def __init__(
        self,
        account: str,
        keys: Sequence[ApiKey],
        limits: Limits,
        serial: SerialCreates | None = None,
    ) -> None:
        self.account = account
        self.keys = list(keys)
        """Usable ones; empty: the lane is out."""
        self.label = keys[0].label
        self.window = CreateWindow(limits.creates, limits.window)
        self.creates = AdaptiveLimit(limits.creates, limits.window)
        # The second guard below the window; it never waits first (docs/design/protocol.md 4).
        self.bucket = AsyncLimiter(limits.burst or limits.creates, _refill_s(limits))
        self.slots = AdaptiveLimit(limits.concurrent, limits.window)
        self.held = 0
        """Slots: predictions created but not yet ended. May pass the limit when one is found."""
        self.paused_until = 0.0
        """Monotonic seconds."""
        self.reported_pause: tuple[str, float] | None = None
        """Why and when a pause was last reported; the same is reported once a window."""
        self.unpaid: tuple[ApiKey, str] | None = None
        """402: this key waits until a prediction of the lane settles; with its message."""
        self._keys_used = 0
        self.serial = serial
        """None: creates may leave side by side."""
        self.pace = LanePace(limits.creates / limits.window, limits.concurrent)
        self.others: dict[tuple[str, int], tuple[KeptCreate, datetime]] = {}
        """Other datasets' creates that hold a slot, and when it is free at the latest (UTC)."""
        self.refused_since: float | None = None
        """Monotonic: since when every create was refused; None: the last one was not."""
        self.refusals = 0
        """429s in a row since the provider last answered otherwise."""
        self.is_off = False  # by fluxbatch ctl
        self.is_open = True
        """Whether it is this process's: of lanes that machines share, one holds each."""
        self.on_its_way: list[Permit] = []
        """Granted and neither answered nor given up."""

    def forget(self) -> None:
        """Nothing is known of the window any more: another process has held the lane."""
        self.window = CreateWindow(self.creates.limit, self.window.window_s)

    @property
    def is_out(self) -> bool:
        return not self.keys

    def health(self, now: float) -> str:
        """One or two words for people."""
        if self.is_out or self.is_off:
            return "out" if self.is_out else "off"
        if not self.is_open:
            return "elsewhere"
        if self.unpaid is not None:
            return "waits for balance"
        if self.paused_until > now:
            return "paused"
        slowed = self.slots.wait_s(now) is not None or self.creates.wait_s(now) is not None
        return "slowed" if slowed else "working"

    def wait_s(self, now: float) -> float | None:
        """Seconds until one more create may leave; None until something else happens."""
        if self.is_out or self.is_off or self.unpaid is not None or not self.is_open:
            return None
        if self.held >= self.slots.allowed(now):
            return self.slots.wait_s(now)
        self.window.limit = self.creates.allowed(now)
        window_s, serial_s = self.window.wait_s(now), self._serial_s(now)
        if window_s is None or serial_s is None:
            return None
        return max(window_s, serial_s, self.paused_until - now, 0.0)

    def _serial_s(self, now: float) -> float | None:
        """Seconds until no create without an answer holds the next one up."""
        if self.serial is None or not self.serial.holds_up(self.pace):
            return 0.0
        longest_s = 0.0
        for permit in self.on_its_way:
            if permit.left_at is None:
                return None  # it is about to leave, or to be given back
            longest_s = max(longest_s, permit.left_at + self.serial.bound_s - now)
        return longest_s

    def next_key(self) -> ApiKey:
        """The keys of an account take turns."""
        self._keys_used += 1
        return self.keys[self._keys_used % len(self.keys)]


class Permit:
    """A granted slot with an entry in its lane's window."""

    def __init__(self, lane: Lane, clock: Clock, lag_s: float, changed: Callable[[], None]) -> None:
        self.lane = lane
        self.key = lane.next_key()
        self.left_at: float | None = None
        """Monotonic."""
        self.given_at = clock.monotonic()
        self._clock = clock
        self._lag_s = lag_s
        self._changed = changed
        self._answer: Answer = "pending"
        lane.on_its_way.append(self)

    def leaves(self) -> None:
        """From here on the provider may count it."""
        self.left_at = self._clock.monotonic()
        self._changed()

    def withdraw(self) -> None:
        """The create did not leave, or the provider does not count it. Idempotent."""
        if self._answer == "pending":
            self._answer = "uncounted"
            self.lane.window.withdraw()
            self._arrived()

    def refused(self, again_in_s: float | None) -> None:
        """429: it may count all the same. Idempotent."""
        if self._answer == "pending":
            self._answer = "refused"
            self.lane.window.refuse(self._clock.monotonic(), again_in_s)
            self._arrived()

    def accepted(self) -> None:
        """The provider took it. Idempotent."""
        if self._answer == "pending":
            self.lane.window.accepted(self._clock.monotonic(), self.lane.creates.limit)
        self.answered()

    def answered(self) -> None:
        """The provider has answered: it counts for one window from now. Idempotent."""
        now = self._clock.monotonic()
        if self._answer == "pending" and self.left_at is not None and self.lane.serial is not None:
            self.lane.serial.saw_answer(now - self.left_at)
            self.lane.pace.saw_answer(now - self.given_at)
        self.lane.refusals, self.lane.refused_since = 0, None
        self._count(now)

    def given_up(self) -> None:
        """No answer came; it may still arrive for `reconcile.lag`. Idempotent."""
        self._count(self._clock.monotonic() + self._lag_s)

    def close(self) -> None:
        if self.left_at is not None:
            self.given_up()
        else:
            self.withdraw()

    def _count(self, at: float) -> None:
        if self._answer == "pending":
            self._answer = "counted"
            self.lane.window.answer(at)
            self._arrived()

    def _arrived(self) -> None:
        """The next one may leave."""
        self.lane.on_its_way.remove(self)
        self._changed()


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
        self.suspended: str | None = None
        """Why nobody gets a permit, as somebody asked for; None: permits are given."""

    @property
    def waiting(self) -> int:
        """Jobs that would leave at once if there were room."""
        return len(self._waiters)

    def lane(self, account: str) -> Lane | None:
        return next((lane for lane in self.all if lane.account == account), None)

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

        None once nothing more may leave.
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
        while self._waiters:
            self._waiters.popleft().event.set()

    @asynccontextmanager
    async def held(self, lane: Lane) -> AsyncIterator[None]:
        """The slot of a prediction that is alive already: taken even above the limit."""
        lane.held += 1
        try:
            yield
        finally:
            self._free(lane)

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


def _refill_s(limits: Limits) -> float:
    """`limits.burst` makes the bucket smaller and as fast, so creates leave evenly."""
    return limits.window * (limits.burst or limits.creates) / limits.creates
