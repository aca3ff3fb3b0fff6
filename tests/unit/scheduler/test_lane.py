"""Lanes: greedy, fair, and never a slot or a window entry that leaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import anyio.lowlevel

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Limits
from fluxbatch.events import Event, Events, LaneChanged
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.scheduler.lane import Lane, Permit
from fluxbatch.scheduler.lanes import Lanes

_LAG_S = 30.0


@dataclass
class _Clock:
    """Moved by hand."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> Timestamp:
        return Timestamp(datetime(2026, 11, 22, tzinfo=UTC), "boot", self.now_s)


@dataclass
class _World:
    lanes: Lanes
    clock: _Clock
    heard: list[Event]
    out: list[str]

    async def turns(self, count: int, into: list[Permit | None], hold: anyio.Event) -> None:
        """*count* workers, each taking one turn and holding it until *hold* is set."""
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(self._one, into, hold)

    async def _one(self, into: list[Permit | None], hold: anyio.Event) -> None:
        async with self.lanes.permit() as permit:
            into.append(permit)
            if permit is not None:
                permit.answered()
                await hold.wait()


@asynccontextmanager
async def _world(*accounts: str, **limits: float) -> AsyncIterator[_World]:
    clock, heard, out = _Clock(), list[Event](), list[str]()
    allowed = Limits.model_validate(limits)
    lanes = [Lane(name, [ApiKey(f"key-of-{name}", label=name, account=name)], allowed)
             for name in accounts]  # fmt: skip
    pool = Lanes(lanes, allowed, clock, _LAG_S, Events(heard.append), out.append)
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run)
        yield _World(pool, clock, heard, out)
        group.cancel_scope.cancel()


async def test_as_many_turns_as_slots_are_granted_at_once() -> None:
    """
    No ramp, no pacing: the first moment already fills the slots, and not one more.
    """
    async with _world("a", concurrent=3) as world, anyio.create_task_group() as group:
        granted: list[Permit | None] = []
        hold = anyio.Event()
        group.start_soon(world.turns, 5, granted, hold)
        await anyio.wait_all_tasks_blocked()
        assert (len(granted), world.lanes.waiting) == (3, 2)

        hold.set()
        await anyio.wait_all_tasks_blocked()
        assert len(granted) == 5
        assert world.lanes.all[0].held == 0


async def test_two_lanes_fill_evenly() -> None:
    """
    Work goes where there is most room, so that no lane idles while another queues.
    """
    async with _world("a", "b", concurrent=4) as world, anyio.create_task_group() as group:
        granted: list[Permit | None] = []
        hold = anyio.Event()
        group.start_soon(world.turns, 4, granted, hold)
        await anyio.wait_all_tasks_blocked()

        assert [lane.held for lane in world.lanes.all] == [2, 2]
        hold.set()


async def test_a_cancelled_waiter_takes_nothing_with_it() -> None:
    """
    Whoever leaves the line, before or after its turn came, leaves slots and window clean.
    """
    async with _world("a", concurrent=1) as world, anyio.create_task_group() as group:
        granted: list[Permit | None] = []
        hold = anyio.Event()
        group.start_soon(world.turns, 1, granted, hold)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            async with world.lanes.permit():
                raise AssertionError("there is no slot")
        assert world.lanes.waiting == 0

        hold.set()
        await anyio.wait_all_tasks_blocked()
        assert world.lanes.all[0].held == 0


async def test_a_create_that_left_without_an_answer_counts_until_after_the_lag() -> None:
    """
    Its worker was cancelled mid-request: the provider may still receive it.
    """
    async with _world("a", creates=1, window=60) as world:
        async with world.lanes.permit() as permit:
            assert permit is not None
            permit.leaves()
        window = world.lanes.all[0].window

        assert window.unanswered == 0
        assert window.wait_s(world.clock.now_s) == 60 + _LAG_S


async def test_refusals_in_a_row_pause_longer_each_up_to_a_window() -> None:
    """
    Where the provider counts what it refuses, a pause of 2 s for ever would never let it forget.
    """
    async with _world("a") as world:
        (lane,) = world.lanes.all
        pauses = []
        for _ in range(7):
            world.lanes.refused(lane, None, "429", by_concurrency=False)
            pauses.append(lane.paused_until - world.clock.now_s)
            world.clock.now_s = lane.paused_until

        assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]

        async with world.lanes.permit() as permit:
            assert permit is not None
            permit.leaves()
            permit.answered()
        world.lanes.refused(lane, None, "429", by_concurrency=False)
        assert lane.paused_until - world.clock.now_s == 2.0


async def test_a_pause_that_the_provider_names_is_taken_as_it_is() -> None:
    """
    However many refusals came before it.
    """
    async with _world("a") as world:
        (lane,) = world.lanes.all
        for _ in range(3):
            world.lanes.refused(lane, 7.0, "429", by_concurrency=False)

        assert lane.paused_until - world.clock.now_s == 7.0


async def test_a_paused_lane_lets_the_other_work() -> None:
    """
    429 on one key is no reason for the other to wait.
    """
    async with _world("a", "b", concurrent=2) as world, anyio.create_task_group() as group:
        world.lanes.pause(world.lanes.all[0], 60.0, "429")
        granted: list[Permit | None] = []
        hold = anyio.Event()
        group.start_soon(world.turns, 2, granted, hold)
        await anyio.wait_all_tasks_blocked()

        assert {permit.lane.account for permit in granted if permit} == {"b"}
        assert [e.health for e in world.heard if isinstance(e, LaneChanged)] == ["paused"]
        hold.set()


async def test_the_same_pause_is_told_once_a_window() -> None:
    """
    No network for an hour is a line a minute; another reason is told at once.
    """
    async with _world("a") as world:
        lane = world.lanes.all[0]
        for _ in range(40):  # two minutes
            world.lanes.pause(lane, 3.0, "no network")
            world.clock.now_s += 3.0
        world.lanes.pause(lane, 3.0, "429")

    told = [event.reason for event in world.heard if isinstance(event, LaneChanged)]
    assert told == ["no network", "no network", "429"]


async def test_the_last_key_out_is_told_with_its_label() -> None:
    """
    With one key of two out the lane goes on; with both, whoever runs the engine hears of it.
    """
    async with _world("a", "b") as world:
        first, second = world.lanes.all
        world.lanes.key_out(first, first.keys[0], "401")
        assert world.out == []

        world.lanes.key_out(second, second.keys[0], "401")
        assert world.out == ["no usable key is left; key b: 401"]


async def test_a_lane_without_balance_waits_for_what_runs_and_then_its_key_is_out() -> None:
    """
    402 costs nothing but time; only when nothing is left that could settle is the key out.
    """
    async with _world("a", concurrent=2) as world:
        lane = world.lanes.all[0]
        async with world.lanes.held(lane.account):
            async with world.lanes.permit() as permit:
                assert permit is not None
                permit.withdraw()
                world.lanes.await_balance(lane, permit.key, "402")
            assert lane.health(world.clock.now_s) == "waits for balance"
            world.lanes.settled(lane)
            assert lane.health(world.clock.now_s) == "working"

            async with world.lanes.permit() as permit:
                assert permit is not None
                permit.withdraw()
                world.lanes.await_balance(lane, permit.key, "402")
        assert lane.is_out


async def test_closing_sends_everybody_away_without_a_turn() -> None:
    """
    At a stop nobody who waits may leave any more; who runs is not touched.
    """
    async with _world("a", concurrent=1) as world, anyio.create_task_group() as group:
        granted: list[Permit | None] = []
        hold = anyio.Event()
        group.start_soon(world.turns, 3, granted, hold)
        await anyio.wait_all_tasks_blocked()
        world.lanes.close()
        await anyio.wait_all_tasks_blocked()

        assert [permit is None for permit in granted] == [False, True, True]
        hold.set()


async def test_the_slot_of_a_found_prediction_is_taken_even_above_the_limit() -> None:
    """
    The provider counts it whether we have room or not.
    """
    async with _world("a", concurrent=1) as world:
        lane = world.lanes.all[0]
        async with world.lanes.held(lane.account), world.lanes.held(lane.account):
            assert lane.held == 2
            assert lane.wait_s(world.clock.now_s) is None


async def test_a_lane_that_comes_later_counts_what_is_alive_of_its_account() -> None:
    """
    Slots that were held before it came are its own, and are given back to it.
    """
    async with _world("a", concurrent=2) as world:
        lane = Lane("b", [ApiKey("key-of-b", account="b")], Limits(concurrent=2))
        async with world.lanes.held("b"), world.lanes.held("b"):
            world.lanes.add(lane)
            assert (lane.held, lane.wait_s(world.clock.now_s)) == (2, None)
        async with world.lanes.held("b"):
            pass
        assert (lane.held, lane.wait_s(world.clock.now_s)) == (0, 0.0)
