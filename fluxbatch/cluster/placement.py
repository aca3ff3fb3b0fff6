"""The workers of one run on a Ray cluster: placed, found again, asked, and let go.

Owns their names, which any process that places the same run finds them by. They are detached: who
placed them may vanish. Where Ray starts one again is Ray's choice, and decides nothing about jobs.
Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from fluxbatch.cluster.placed_worker import PlacedWorker, WorkerEnd
from fluxbatch.cluster.ray_cluster import NAMESPACE, RayCluster
from fluxbatch.errors import ConfigError, ExitCode

_T = TypeVar("_T")
_PLACED_WITHIN_S = 60.0
_ANSWERS_WITHIN_S = 60.0
_AT_WORK_ANSWERS_S = 5.0
"""A worker that has a node, and is not just being made."""
_LOOK_EVERY_S = 0.2
_MOST_RESTARTS = 20
LOST = WorkerEnd(int(ExitCode.ERROR), ("Ray has lost it and does not start it again",))


class NodeAnswer(NamedTuple):
    """What a function said on one worker's node."""

    number: int
    node: str
    answer: Any


@dataclass(slots=True)
class Placement:
    """The workers of one run, by their numbers from 0."""

    cluster: RayCluster
    title: str
    """Of the run, for the names of its workers."""
    workers: dict[int, Any] = field(default_factory=dict)
    """Ray's handles."""
    new: list[int] = field(default_factory=list)
    """Not there before, and not started yet."""
    nowhere: list[int] = field(default_factory=list)
    """There before, and about to be started again by Ray, when a node has room."""
    _asked: dict[int, Any] = field(default_factory=dict)

    def find(self) -> list[int]:
        """The workers that are there already and have not ended."""
        ray = self.cluster.ray
        start = self._name("")
        found = [name for name in ray.util.list_named_actors() if name.startswith(start)]
        numbers = [name.removeprefix(start) for name in found]
        for number in sorted(int(one) for one in numbers if one.isdigit()):
            self._is_there(number)
        calls = {
            number: [worker.end.remote(), worker.is_started.remote()]
            for number, worker in self.workers.items()
        }
        both = [one for pair in calls.values() for one in pair]
        if both:
            ray.wait(both, num_returns=len(both), timeout=_AT_WORK_ANSWERS_S)
        for number, pair in calls.items():
            self._judge(number, pair)
        return list(self.workers)

    def _judge(self, number: int, calls: Sequence[Any]) -> None:
        """Whether the worker is at work, waits to be started, or has ended and makes room."""
        ray = self.cluster.ray
        try:
            end, is_started = ray.get(calls, timeout=0)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            self.nowhere.append(number)
            return
        if end is not None:
            ray.kill(self.workers.pop(number), no_restart=True)
            gone_at = time.monotonic() + _ANSWERS_WITHIN_S
            while self._is_there(number) and time.monotonic() < gone_at:
                del self.workers[number]
                time.sleep(_LOOK_EVERY_S)
        elif not is_started:
            self.new.append(number)

    def place(self, words: Sequence[str], cwd: str, wanted: int) -> None:
        """Have *wanted* workers, spread over the nodes; those that are there stay.

        Raises `ConfigError` where there are fewer nodes, or they have no room.
        """
        if all(number in self.workers for number in range(wanted)):
            return  # a node may be lost: its worker waits for another one
        nodes = self.cluster.nodes()
        if len(nodes) < wanted:
            names = ", ".join(node.name for node in nodes) or "none"
            raise ConfigError(
                f"--workers {wanted} asks for more workers than the Ray cluster has nodes with a"
                f" CPU ({len(nodes)}: {names}): start more nodes, or ask for fewer workers"
            )
        actor = self.cluster.ray.remote(PlacedWorker)
        for number in range(wanted):
            if number not in self.workers:
                self.new.append(number)
                self.workers[number] = actor.options(
                    name=self._name(number),
                    namespace=NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    num_cpus=1,
                    max_restarts=_MOST_RESTARTS,
                    scheduling_strategy="SPREAD",
                ).remote(list(words), cwd)
        self._wait_for_room(wanted)

    def _wait_for_room(self, wanted: int) -> None:
        ray = self.cluster.ray
        calls = [self.workers[number].node_id.remote() for number in self.new]
        if not calls:
            return
        there, _ = ray.wait(calls, num_returns=len(calls), timeout=_PLACED_WITHIN_S)
        if len(there) < len(calls):
            self.give_up()
            raise ConfigError(
                f"the Ray cluster has no CPU free for {len(calls) - len(there)} of {wanted}"
                " workers: wait for what runs there, or ask for fewer workers"
            )

    def ask(self, function: Callable[..., object], *args: object) -> Iterator[NodeAnswer]:
        """What *function* says on the node of each new worker; an exception is an answer."""
        ray = self.cluster.ray
        names = {node.node_id: node.name for node in self.cluster.nodes()}
        calls = {n: self.workers[n].call.remote(function, *args) for n in self.new}
        for number, call in calls.items():
            try:
                node_id = ray.get(self.workers[number].node_id.remote(), timeout=_ANSWERS_WITHIN_S)
                node = names.get(node_id, f"node {node_id[:8]}")
            except Exception as exc:  # noqa: BLE001  # whatever Ray raises, it is this node's answer
                yield NodeAnswer(number, "a node", exc)
                continue
            try:
                yield NodeAnswer(number, node, ray.get(call, timeout=_ANSWERS_WITHIN_S))
            except Exception as exc:  # noqa: BLE001  # as above
                yield NodeAnswer(number, node, exc)

    def ask_one(self, number: int, function: Callable[..., object], *args: object) -> Any:
        """The same of one worker; raises what Ray raises."""
        call = self.workers[number].call.remote(function, *args)
        return self.cluster.ray.get(call, timeout=_ANSWERS_WITHIN_S)

    def start(self) -> None:
        """All of them work from now on."""
        self.cluster.ray.get([self.workers[n].start.remote() for n in self.new])

    def give_up(self) -> None:
        """Those that were not there before are there no more."""
        for number in self.new:
            self.cluster.ray.kill(self.workers.pop(number), no_restart=True)
        self.new.clear()

    def stop(self, numbers: Sequence[int]) -> None:
        """These buy no more and leave; one that Ray is about to start again is started no more."""
        ray = self.cluster.ray
        calls = {number: self.workers[number].stop.remote() for number in numbers}
        for number, call in calls.items():
            try:
                ray.get(call, timeout=_ANSWERS_WITHIN_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                ray.kill(self.workers[number], no_restart=True)

    def ends(self) -> dict[int, WorkerEnd]:
        """How those ended that have; asks all of them and waits for none."""
        ray = self.cluster.ray
        found: dict[int, WorkerEnd] = {}
        for number, worker in self.workers.items():
            call = self._asked.setdefault(number, worker.end.remote())
            done, _ = ray.wait([call], timeout=0)
            if not done:
                continue
            del self._asked[number]
            try:
                end = ray.get(call)
            except ray.exceptions.ActorUnavailableError:
                continue  # it is being started again
            except ray.exceptions.RayActorError:
                end = LOST if not self._is_there(number) else None
            if end is not None:
                found[number] = WorkerEnd(*end)
        return found

    def _is_there(self, number: int) -> bool:
        """Whether Ray has it, at work or about to be."""
        try:
            self.workers[number] = self.cluster.ray.get_actor(self._name(number), NAMESPACE)
        except ValueError:
            return False
        return True

    def _name(self, number: int | str) -> str:
        return f"{self.title} {number}"
