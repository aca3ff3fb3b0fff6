"""A lane: one account at work in this process. Its slots, its window, its keys, its health.

Owns the plain state and what each answer to a create does to it; who may create next is decided
in `lanes`. Knows nothing of jobs, HTTP or the ledger. Source: docs/design/protocol.md 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from aiolimiter import AsyncLimiter

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Limits
from fluxbatch.infra.runtime import Clock
from fluxbatch.scheduler.adaptive_limit import AdaptiveLimit
from fluxbatch.scheduler.lane_state_file import KeptCreate
from fluxbatch.scheduler.serial import LanePace, SerialCreates
from fluxbatch.scheduler.window import CreateWindow

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

    @property
    def is_usable(self) -> bool:
        """Whether it is this process's and creates again by itself, sooner or later."""
        return self.is_open and not self.is_off and not self.is_out

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
        if not self.is_usable or self.unpaid is not None:
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


def _refill_s(limits: Limits) -> float:
    """`limits.burst` makes the bucket smaller and as fast, so creates leave evenly."""
    return limits.window * (limits.burst or limits.creates) / limits.creates
