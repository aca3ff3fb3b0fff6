"""The truth of each create, as only the far side knows it.

Owns when every create left and when its execution was made. It says what no engine could
know: an execution that arrived late, in the very time in which another create that was lost
would have arrived, is taken for that one. Anything else that is mistaken is a fault.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fluxbatch.emulator.prediction import EmulatedPrediction, State
from tests.simulation.plan import Plan

if TYPE_CHECKING:
    from tests.simulation.provider import Order, Provider

_TRIPS = 5
_MARGIN_S = 12.0


class Truth:
    """Told of everything that leaves and arrives."""

    def __init__(self, plan: Plan, provider: Provider) -> None:
        self._plan = plan
        self._provider = provider
        self.is_dated = True
        """Whether all that was lost is dated by a clock that can be trusted."""
        self._left: list[tuple[float, Order]] = []
        self._made: dict[str, float] = {}
        """Executions by id: how long after it left its create arrived."""

    def left(self, order: Order) -> None:
        self._left.append((self._now_s(), order))

    def made(self, one: EmulatedPrediction) -> None:
        from tests.simulation.provider import order_of

        order = order_of(one.input)
        times = [at for at, who in self._left if who == order and at <= one.created_at + 1e-6]
        self._made[one.id] = one.created_at - max(times, default=one.created_at)

    @property
    def _prompt_s(self) -> float:
        """Within which a create arrives that is not late."""
        trip_s = self._plan.latency_s + self._plan.jitter_s
        return max(self._plan.timeout_s / 15, _TRIPS * 2 * trip_s)

    def is_coincidence(self, one: EmulatedPrediction) -> bool:
        """Late, and just when another create would have arrived."""
        from tests.simulation.provider import order_of

        trip_s = self._plan.latency_s + self._plan.jitter_s
        if self._made.get(one.id, 0.0) <= trip_s + 1e-3:
            return False
        order = order_of(one.input)
        return any(
            who != order and at <= one.created_at <= at + self._prompt_s for at, who in self._left
        )

    def has_suspect(self, order: Order, known: Collection[str | None], *, is_hidden: bool) -> bool:
        """Whether an execution that no ledger knows succeeded, when a create of *order* may
        have made it; *is_hidden*: a crash hides whether and when it left."""
        plan = self._plan
        late_s = plan.timeout_s + plan.lag_s + 5.0 + _MARGIN_S + plan.timeout_s
        times = [at for at, who in self._left if who == order]
        # An earlier attempt's time says nothing of this one, nor does any across a reboot.
        anytime = is_hidden or not times or not self.is_dated
        return any(
            one.state in (State.SUCCEEDED, State.ALIVE)
            and one.id not in known
            and (anytime or any(at - _MARGIN_S <= one.created_at <= at + late_s for at in times))
            for one in self._provider.core.executor.history
        )

    def _now_s(self) -> float:
        return self._provider.core.clock.now()
