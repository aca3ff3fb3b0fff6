"""One create in flight: how long one without an answer keeps the next from leaving.

Owns what is known of the provider's answers: how long they take, and whether polls give the
input back. Where they do not, a lost create is told by its time alone, and the times of two
creates must not overlap. Knows nothing of HTTP, jobs or lanes. Source: docs/design/protocol.md 3.4.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Literal

Mode = Literal["auto", "always", "never"]

_ANSWERS = 50
_USUAL_ANSWERS = 5
"""A create that takes so many times the usual is not waited for any longer."""
_LEAST_PART = 1 / 15
"""Of `provider.timeout`: 2 s of 30."""
_FAR_BEHIND = 10.0
"""Creates one at a time that would use less than a tenth of what the limits allow leave side by
side: by then nobody counts on finding a lost one by its time."""
_LEAST_SEEN = 20
"""Creates before their times tell anything."""


class LanePace:
    """Whether creates of a lane can leave one at a time without costing most of its throughput.

    They can where they follow each other about as fast as the window lets them, or as slots
    become free.
    """

    def __init__(self, creates_per_s: float, slots: int) -> None:
        self._creates_per_s = creates_per_s
        self._slots = slots
        self._turnarounds: deque[float] = deque(maxlen=_ANSWERS)
        self._holds: deque[float] = deque(maxlen=_ANSWERS)
        self.one_keeps_up = True

    def saw_answer(self, took_s: float) -> None:
        """A create was answered so long after its permit was given."""
        self._turnarounds.append(took_s)

    def saw_slot_free(self, held_s: float) -> None:
        """A slot was held so long."""
        self._holds.append(held_s)
        if min(len(self._holds), len(self._turnarounds)) >= _LEAST_SEEN:
            turnaround_s = median(self._turnarounds)
            fills_window = turnaround_s * self._creates_per_s <= _FAR_BEHIND
            fills_slots = turnaround_s * self._slots <= _FAR_BEHIND * median(self._holds)
            self.one_keeps_up = fills_window or fills_slots


class SerialCreates:
    """Whether the creates of an account leave one after the other's answer."""

    def __init__(self, mode: Mode, timeout_s: float) -> None:
        self._mode = mode
        self._least_s = timeout_s * _LEAST_PART
        self._most_s = timeout_s
        self._took: deque[float] = deque(maxlen=_ANSWERS)
        self.polls_tell_input: bool | None = None
        """As the latest poll had it; None: none was seen."""

    @property
    def is_on(self) -> bool:
        """Until a poll proves otherwise, none is expected to give the input."""
        if self._mode == "auto":
            return not self.polls_tell_input
        return self._mode == "always"

    def holds_up(self, pace: LanePace) -> bool:
        """Whether creates of that lane wait for each other; `auto` never costs it throughput."""
        return self.is_on and (self._mode == "always" or pace.one_keeps_up)

    @property
    def bound_s(self) -> float:
        """Seconds after it left from which a create without an answer holds nothing up."""
        usual_s = _USUAL_ANSWERS * median(self._took) if self._took else 0.0
        return min(max(self._least_s, usual_s), self._most_s)

    def saw_answer(self, took_s: float) -> None:
        """A create was answered so long after it left."""
        self._took.append(took_s)

    def saw_poll(self, *, tells_input: bool) -> None:
        """A prediction was read."""
        self.polls_tell_input = tells_input
