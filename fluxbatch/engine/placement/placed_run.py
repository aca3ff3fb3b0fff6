"""One run on a Ray cluster: its workers placed, their nodes checked, and started together.

Owns that nothing is started while any node lacks what it must have, and that all problems are told
at once, each with its node. Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fluxbatch.cluster.placement import NodeAnswer, Placement
from fluxbatch.cluster.ray_cluster import RayCluster
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.placement.node_check import (
    NodeQuestion,
    NodeState,
    check_node,
    leave_mark,
    sees_mark,
    take_mark,
)
from fluxbatch.errors import ConfigError, FluxbatchError

_EVERY_S = 1.0
_LEAVES_WITHIN_S = 180.0
"""A worker that is told to: `stop.grace`, and its last images."""


class Placed(NamedTuple):
    """How a run came to its workers."""

    found: int
    told_to_leave: int
    nowhere: int
    """Of those found: lost with their node, and not started again yet."""
    new: int


@dataclass(slots=True)
class PlacedRun:
    """A run of *name* on *cluster*, started by *words* on each node."""

    cluster: RayCluster
    dataset: SharedDataset
    name: str
    words: Sequence[str]
    question: NodeQuestion
    placement: Placement = field(init=False)

    def __post_init__(self) -> None:
        mark = hashlib.sha256(f"{self.dataset.name}\n{self.name}".encode()).hexdigest()[:8]
        title = f"fluxbatch {self.dataset.short_name} {self.name} {mark}"
        self.placement = Placement(self.cluster, title)

    def have(self, wanted: int) -> Placed:
        """Have *wanted* workers at work; answers what that took.

        Raises `ConfigError` naming every node that lacks something: then none of the new ones
        was started, and nothing is spent.
        """
        there = [n for n in self.placement.find() if n not in self.placement.new]
        surplus = [n for n in there if n >= wanted]
        self.placement.stop(surplus)
        if not wanted:
            return Placed(0, len(surplus), 0, 0)
        here = check_node(self.question, needs_keys=False)
        _refuse([f"here: {problem}" for problem in here.problems])
        self.placement.place(self.words, os.getcwd(), wanted)
        try:
            asked = replace(self.question, digests=here.digests)
            states = self._states(list(self.placement.ask(check_node, asked)))
            self._refuse_other_folders(states)
        except BaseException:
            self.placement.give_up()
            raise
        self.placement.start()
        stay = [number for number in there if number < wanted]
        nowhere = [number for number in self.placement.nowhere if number < wanted]
        return Placed(len(stay), len(surplus), len(nowhere), wanted - len(stay))

    def until_left(self) -> None:
        """Wait for workers that were told to leave; raises `FluxbatchError` where some do not."""
        leave_by = time.monotonic() + _LEAVES_WITHIN_S
        while len(self.placement.ends()) < len(self.placement.workers):
            if time.monotonic() > leave_by:
                raise FluxbatchError("not every worker has left yet; the same again waits for them")
            time.sleep(_EVERY_S)

    def _states(self, answers: Sequence[NodeAnswer]) -> list[tuple[NodeAnswer, NodeState]]:
        """The state of each node; raises `ConfigError` for whatever any of them lacks."""
        problems, states = [], []
        for one in answers:
            if isinstance(one.answer, NodeState):
                states.append((one, one.answer))
                problems += [f"{one.node}: {problem}" for problem in one.answer.problems]
            else:
                problems.append(f"{one.node}: {_why(one.answer)}")
        _refuse(problems)
        return states

    def _refuse_other_folders(self, states: Sequence[tuple[NodeAnswer, NodeState]]) -> None:
        """Raise `ConfigError` where a node sees another folder of that name than the first one."""
        folders = [(one, state.images) for one, state in states if state.images is not None]
        if not folders:
            return
        first, folder = folders[0]
        try:
            mark = self.placement.ask_one(first.number, leave_mark, folder)
        except Exception as exc:
            raise ConfigError(f"{first.node}: cannot write in {folder!r}: {_why(exc)}") from exc
        try:
            seen = {a.number: a for a in self.placement.ask(sees_mark, folder, mark)}
        finally:
            self.placement.ask_one(first.number, take_mark, folder, mark)
        _refuse(
            [
                f"{one.node}: its {folder!r} is not the folder that {first.node} has (sink.store):"
                " mount the same one on every node"
                for one, _ in folders
                if seen[one.number].answer is not True
            ]
        )


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("\n".join(_told(problems)))


def _told(problems: Sequence[str]) -> Iterator[str]:
    yield "the run cannot be placed; nothing was spent"
    for problem in dict.fromkeys(problems):
        yield f"  {problem}"


def _why(answer: object) -> str:
    """The last line of what went wrong on a node."""
    lines = [line.strip() for line in str(answer).splitlines() if line.strip()]
    last = lines[-1] if lines else type(answer).__name__
    if "No module named" in last:
        return f"fluxbatch is not installed there as it is here ({last})"
    return last
