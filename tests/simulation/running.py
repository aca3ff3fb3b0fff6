"""One seed, from its plan to its digest; and how to say that it failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from tests.simulation.disk import disk_under_sink
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import SHM, Log, World
from tests.support.clock import AutojumpLoop, run_virtually

T = TypeVar("T")

_MOST_S = 400_000.0
_MOST_TURNS = 400_000


class Ran(NamedTuple):
    """A simulation that broke no rule."""

    digest: str
    lines: int
    turns: int
    virtual_s: float
    deaths: tuple[str, ...]


def in_world(
    plan: Plan,
    work: Callable[[World], Awaitable[T]],
    tell: Callable[[str], None] | None = None,
    *,
    most_turns: int = 5_000_000,
) -> T:
    """Do *work* in the world of *plan*, in virtual time and a folder that vanishes."""
    place = SHM if SHM.is_dir() else None
    with TemporaryDirectory(prefix="fluxbatch-sim-", dir=place) as folder:

        async def main(loop: AutojumpLoop) -> T:
            world = World(plan, loop, Path(folder), Log(folder, tell))
            try:
                with disk_under_sink(world.disk):
                    return await work(world)
            finally:
                world.close()

        return run_virtually(main, most_s=_MOST_S, most_turns=most_turns)


def run_plan(plan: Plan, tell: Callable[[str], None] | None = None) -> Ran:
    """Carry *plan* out; raises what went wrong."""

    async def work(world: World) -> Ran:
        await world.run()
        return Ran(
            world.log.digest(), world.log.lines, world.loop.turns, world.loop.time(),
            tuple(world.deaths),
        )  # fmt: skip

    return in_world(plan, work, tell, most_turns=_MOST_TURNS)


def run_seed(seed: int, tell: Callable[[str], None] | None = None) -> Ran:
    return run_plan(plan_of(seed), tell)
