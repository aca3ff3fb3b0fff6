"""The poll schedule: the times to ask whether a prediction has ended.

Owns the durations seen so far, by what a prediction's duration depends on, and the
placing of polls: dense where ends are likely, rare elsewhere. The density that wastes
least time for its number of polls grows with a power of the hazard (how likely the end
is now, given that it has not come); it is scaled so that an
average prediction takes `_EAGER_POLLS` polls, or `_LAZY_POLLS` where nobody waits for
its slot. What the model's card says of its executions stands in for durations not seen
yet, and is dropped where they contradict it. Where a webhook is expected, polls look
only after those that got lost. Pure but for what it has been told; seconds throughout.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable
from itertools import accumulate, pairwise
from random import Random
from statistics import NormalDist, median

from fluxbatch.domain.job import Input

_KEPT = 200
_ENOUGH = 5
_EAGER_POLLS = 5.9
_LAZY_POLLS = 2.0
_FETCH_S = 2.0
_LEAST_WAIT_S = (0.05, 0.01)
"""However short predictions are; the latter where a slot is waited for."""
_POWER = 0.6
"""Of the hazard: a half where polls are many; with five or six this comes within 0.0002 of the
optimum that `benchmarks.poll_frontier` computes."""
_JITTER = 0.1
"""Seconds that polls due together are spread over; less where they come more often."""

_SURELY_SIGMAS = 3.5
_WEBHOOK_LATE_S = 1.0
_FIRST_LOOK_S = 5.0
"""Where no duration is known, and a webhook expected."""
_LOOKS_APART_S = (2.0, 30.0)
"""Least and most seconds between looks after a webhook that should have come."""

_LEAST_SIGMA = 0.02
_MOST_SIGMA = 1.5
_STEPS = 240
_REACH = 4.5
"""Sigmas each way that the plan covers; later ends are asked for ever more rarely."""
_RARER = 0.15
"""Of a prediction's age: the wait where nothing is known of its end."""
_OUTLIVES = 0.06
"""The same, once it has outlived all that its plan knows of."""

_TOLD_SIGMA = 0.25
"""How far a model's executions are taken to lie from what its card says, until they are seen."""
_TOLD_SIDES = (-1.0, 0.0, 1.0)
"""The durations that stand for it beside those seen, in such sigmas."""
_TOLD_WRONG = 2.0
"""So many times shorter or longer, the card's word is not true of this kind."""
_EARLY = (0.4, 3.0)
"""Seconds of the first poll before anything has ended, and the ratio of those that follow."""

_NORMAL = NormalDist()


class PollPlan:
    """Where polls lie for durations that are lognormal with this median and sigma."""

    def __init__(self, median_s: float, sigma: float, polls: float) -> None:
        low, high = (median_s * math.exp(side * _REACH * sigma) for side in (-1, 1))
        width = (high - low) / _STEPS
        self._times = [low + width * number for number in range(_STEPS + 1)]
        ends = [_NORMAL.cdf(math.log(t / median_s) / sigma) for t in self._times]
        shares = [max(b - a, 0.0) for a, b in pairwise(ends)]
        roots = [
            math.pow(share / max(1.0 - end, 1e-9), _POWER)
            for share, end in zip(shares, ends, strict=False)
        ]
        due = [0.0, *accumulate(roots)]
        # An end within a spacing is found by the poll after it: half a poll more on average.
        spent = sum(share * (a + b) / 2 for share, a, b in zip(shares, due, due[1:], strict=False))
        scale = (polls - 0.5) / max(spent, 1e-9)
        self._due = [value * scale for value in due]
        self._last_spacing_s = max(self._spacing_after(0.9), width)

    def next_s(self, elapsed_s: float) -> float:
        """The elapsed time of the poll that follows one at *elapsed_s*."""
        target = self._at(elapsed_s) + 1.0
        if target >= self._due[-1]:
            now_s = max(elapsed_s, self._times[0])
            # Whatever lives longer than all the plan knows of may do so for long.
            beyond_s = _OUTLIVES * now_s if now_s >= self._times[-1] else 0.0
            return now_s + max(self._last_spacing_s, beyond_s)
        place = bisect_right(self._due, target)
        low, high = self._due[place - 1], self._due[place]
        share = (target - low) / (high - low) if high > low else 0.0
        return self._times[place - 1] + share * (self._times[place] - self._times[place - 1])

    def _at(self, elapsed_s: float) -> float:
        """How many polls are due by then."""
        if elapsed_s <= self._times[0]:
            return 0.0
        place = min(bisect_right(self._times, elapsed_s), _STEPS)
        low, high = self._times[place - 1], self._times[place]
        share = min((elapsed_s - low) / (high - low), 1.0)
        return self._due[place - 1] + share * (self._due[place] - self._due[place - 1])

    def _spacing_after(self, part: float) -> float:
        """The mean spacing of the plan's last part."""
        place = int(_STEPS * part)
        polls = self._due[-1] - self._due[place]
        return (self._times[-1] - self._times[place]) / max(polls, 1.0)


class _Learned:
    """The durations of one kind of prediction, and what was told of them before."""

    def __init__(self, told_s: float | None = None) -> None:
        self.recent: deque[float] = deque(maxlen=_KEPT)
        self.seen = 0
        self._told_s = told_s
        self._plans: dict[float, PollPlan] = {}
        self._fresh_at = 0

    def saw(self, duration_s: float) -> None:
        self.recent.append(max(duration_s, 0.001))
        self.seen += 1

    @property
    def is_planned(self) -> bool:
        """Whether enough is known to place polls by it."""
        return self.seen >= _ENOUGH or self._told_holds

    @property
    def _told_holds(self) -> bool:
        """Whether something was told, and nothing seen says that it is wrong."""
        if self._told_s is None:
            return False
        times = median(self.recent) / self._told_s if self.recent else 1.0
        return 1 / _TOLD_WRONG <= times <= _TOLD_WRONG

    def plan(self, polls: float) -> PollPlan:
        """Made anew when a fifth more has been seen than when it was made."""
        if self.seen >= self._fresh_at:
            self._plans.clear()
            self._fresh_at = (
                self.seen + max(self.seen // 5, 1)
                if self.seen < _KEPT
                else (self.seen + _KEPT // 5)
            )
        if polls not in self._plans:
            self._plans[polls] = PollPlan(*self._fit(), polls)
        return self._plans[polls]

    def surely_s(self) -> float:
        """When almost every prediction has ended and its webhook has come."""
        middle_s, sigma = self._fit()
        return 1.1 * middle_s * math.exp(_SURELY_SIGMAS * sigma) + _WEBHOOK_LATE_S

    def _fit(self) -> tuple[float, float]:
        """Median and sigma, by order statistics, so that one outlier moves nothing."""
        logs = [math.log(duration) for duration in self.recent]
        if self._told_s is not None and self.seen < _KEPT and self._told_holds:
            # Spread as that many samples would be: the first to end are the quickest of those
            # that began together, and would have the rest asked about too early.
            logs += [math.log(self._told_s) + side * _TOLD_SIGMA for side in _TOLD_SIDES]
        middle = median(logs)
        spread = 1.4826 * median(abs(value - middle) for value in logs)
        # Few samples understate the spread; too wide costs a little, too narrow a lot.
        doubt = 1.0 + 2.0 / len(logs)
        return math.exp(middle), min(max(spread * doubt, _LEAST_SIGMA), _MOST_SIGMA)


_COST_INPUTS = ("num_inference_steps", "megapixels", "num_outputs", "num_images")


def kind_of(given: Input) -> Hashable:
    """The part of an input that a prediction's duration depends on."""
    return tuple(repr(given.get(name)) for name in _COST_INPUTS)  # lists are no keys


class PollSchedule:
    """Learns how long predictions take and says when to ask."""

    def __init__(self, execution_s: float | None = None) -> None:
        """*execution_s*: what the model's card says one takes; None where it says nothing."""
        self._execution_s = execution_s
        self._all = _Learned()
        self._kinds: dict[Hashable, _Learned] = {}

    def saw(self, kind: Hashable, asked_before_s: float, ended_by_s: float) -> None:
        """A prediction of *kind* ended between two polls, seconds after its acceptance."""
        duration_s = (asked_before_s + ended_by_s) / 2
        self._of(kind).saw(duration_s)
        self._all.saw(duration_s)

    def remember(self, kind: Hashable, durations_s: Iterable[float]) -> None:
        """What an earlier process saw."""
        for duration_s in durations_s:
            self.saw(kind, duration_s, duration_s)

    def drain_s(self, unseen_s: float) -> float:
        """How long what is submitted now is likely to take to its stored file; *unseen_s* stands in
        for a prediction's duration before one was seen."""
        longest = max(self._all.recent, default=unseen_s)
        return longest * 1.2 + _FETCH_S

    def wait_s(self, kind: Hashable, elapsed_s: float, random: Random, *, eager: bool) -> float:
        """Seconds until the next poll of a prediction that is *elapsed_s* old.

        *eager* while its slot would be used again at once.
        """
        learned = self._of(kind)
        if not learned.is_planned:
            return self._unlearned_s(elapsed_s, random)
        plan = learned.plan(_EAGER_POLLS if eager else _LAZY_POLLS)
        wait_s = plan.next_s(elapsed_s) - elapsed_s
        if not learned.seen:
            first_s, ratio = _EARLY
            wait_s = min(wait_s, max(first_s, ratio * elapsed_s) - elapsed_s)
        # Jitter keeps jobs that were accepted together from being asked about together; a twentieth
        # of a long wait would put the first poll anywhere between two.
        return max(wait_s, _LEAST_WAIT_S[eager]) + _JITTER * (random.random() - 0.5) * min(
            wait_s, 1.0
        )

    def safety_s(self, kind: Hashable, elapsed_s: float, random: Random) -> float:
        """Seconds until the next poll of a prediction whose webhook is expected.

        Once the webhook should have come, and ever rarer after that.
        """
        learned = self._kinds.get(kind)
        if learned is None or learned.seen < _ENOUGH:
            learned = self._all
        least_s, most_s = _LOOKS_APART_S
        if learned.seen < _ENOUGH:
            wait_s = max(_FIRST_LOOK_S - elapsed_s, min(elapsed_s, most_s))
        elif elapsed_s < (first_s := learned.surely_s()):
            wait_s = first_s - elapsed_s
        else:
            wait_s = min(max(0.25 * elapsed_s, least_s), most_s)
        return max(wait_s, 0.01) * (1.0 + 0.1 * random.random())

    def _of(self, kind: Hashable) -> _Learned:
        if kind not in self._kinds:
            self._kinds[kind] = _Learned(self._execution_s)
        return self._kinds[kind]

    def _unlearned_s(self, elapsed_s: float, random: Random) -> float:
        """Before enough is known: ever rarer, so that the delay is a share of the duration."""
        return (0.9 + 0.2 * random.random()) * min(max(_RARER * elapsed_s, 0.1), 5.0)
