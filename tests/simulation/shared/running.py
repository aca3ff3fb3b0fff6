"""One seed of a shared run, from its plan to its digest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.simulation.shared.loop import ManyProcessesLoop
from tests.simulation.shared.plan import SharedPlan, shared_plan_of
from tests.simulation.shared.world import Seen, SharedWorld
from tests.simulation.world import SHM, Log

_MOST_S = 20_000.0
_MOST_TURNS = 1_000_000


class Ran(NamedTuple):
    """A simulation that broke no rule."""

    digest: str
    lines: int
    turns: int
    virtual_s: float
    seen: Seen
    codes: list[list[int | None]]
    """How the last process of each machine ended, by round."""


def run_plan(plan: SharedPlan, tell: Callable[[str], None] | None = None) -> Ran:
    """Carry *plan* out; raises what went wrong."""
    place = SHM if SHM.is_dir() else None
    loop = ManyProcessesLoop(most_s=_MOST_S, most_turns=_MOST_TURNS)
    with TemporaryDirectory(prefix="fluxbatch-sim-", dir=place) as folder:

        async def main() -> Ran:
            world = SharedWorld(plan, loop, Path(folder), Log(folder, tell))
            try:
                await world.run()
            finally:
                world.close()
            return Ran(
                world.log.digest(),
                world.log.lines,
                loop.turns,
                loop.time(),
                world.seen,
                world.codes,
            )

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                return runner.run(main())
            finally:
                # What is left is cancelled by the runner, and may take as long as it likes.
                loop.most_s, loop.most_turns, loop.on_turn = 1e12, 10**12, None


def run_seed(seed: int, tell: Callable[[str], None] | None = None) -> Ran:
    return run_plan(shared_plan_of(seed), tell)
