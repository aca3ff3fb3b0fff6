"""Shards over a Ray cluster: a task each, tried again by Ray where a node or its process is lost.

Owns that the nodes run what this machine runs, and that nothing goes on there when nobody wants it.
Nothing is bought in a shard, so Ray may do one twice. Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self, TypeVar

from fluxbatch._version import __version__
from fluxbatch.cluster.ray_cluster import RayCluster
from fluxbatch.errors import ConfigError
from fluxbatch.shards.pool import ShardLost
from fluxbatch.shards.requests import answer_to, request_for, result_of

_S = TypeVar("_S")
_R = TypeVar("_R")
_MOST_AT_ONCE = 256
_TRIES_AGAIN = 3
_CHECK_WITHIN_S = 60.0
_WRITERS = ("pillow", "pyarrow")
"""Packages whose versions may change the bytes."""


class RayPool:
    """A task on each CPU of *cluster*; enters only where all nodes run the same as this one.

    Entering raises `ConfigError`.
    """

    is_inline = False
    is_elsewhere = True

    def __init__(self, cluster: RayCluster, tell: Callable[[str], None] = lambda _: None) -> None:
        self._cluster = cluster
        self._tell = tell
        self._ray = cluster.ray
        cpus = int(sum(node.cpus for node in cluster.nodes()))
        self.at_once = min(cpus, _MOST_AT_ONCE)
        self._answer = cluster.ray.remote(_answer_there)
        self._task = self._answer.options(num_cpus=1, max_retries=_TRIES_AGAIN)
        self._lock = threading.Lock()
        self._asked: set[Any] = set()
        self._interrupts = 0

    def ask(self, work: Callable[[_S], _R], shard: _S) -> _R:
        request = request_for(work, shard)
        with self._lock:
            interrupts = self._interrupts
            asked = self._task.remote(os.getcwd(), request)
            self._asked.add(asked)
        try:
            answer: bytes = self._ray.get(asked)
        except self._ray.exceptions.RayError as exc:
            if self._interrupts != interrupts:
                raise ShardLost("the work was interrupted") from exc
            raise ShardLost(
                f"the Ray cluster lost this work {_TRIES_AGAIN + 1} times ({_first_line(exc)});"
                " what is finished stays, run it again"
            ) from exc
        finally:
            with self._lock:
                self._asked.discard(asked)
        result: _R = result_of(answer)
        return result

    def everywhere(self, work: Callable[[_S], _R], shard: _S) -> list[tuple[str, _R]]:
        request, ray = request_for(work, shard), self._ray
        pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        asked = []
        for node in self._cluster.nodes():
            there = self._answer.options(
                num_cpus=0,  # it is asked however busy it is
                max_retries=0,
                scheduling_strategy=pinned(node.node_id, soft=False),
            )
            asked.append((node, there.remote(os.getcwd(), request)))
        found = []
        for node, one in asked:
            try:
                found.append((node.name, result_of(ray.get(one, timeout=_CHECK_WITHIN_S))))
            except ray.exceptions.RayError as exc:
                if node not in self._cluster.nodes():
                    continue  # it is gone: no shard comes to it
                raise ConfigError(
                    f"{node.name} cannot work for this: {_first_line(exc)}; install"
                    f" fluxbatch-engine {__version__} there, in the Python that Ray runs, or take"
                    " it out of the cluster"
                ) from exc
        return found

    def interrupt(self) -> None:
        with self._lock:
            self._interrupts += 1
            asked = list(self._asked)
        for one in asked:
            with suppress(Exception):  # it has ended, or its node has
                self._ray.cancel(one, force=True)

    def __enter__(self) -> Self:
        if self.at_once < 1:
            raise ConfigError("the Ray cluster has no node with a CPU for work: start one")
        here = installed_here(0)
        for node, there in self.everywhere(installed_here, 0):
            other = [name for name in here if there.get(name) != here[name]]
            if other:
                has = ", ".join(f"{name} {there.get(name)}" for name in other)
                wanted = ", ".join(f"{name} {here[name]}" for name in other)
                raise ConfigError(
                    f"{node} has {has}, and this machine {wanted}: the files would differ; install"
                    " the same on all nodes and here"
                )
        if self._ray.available_resources().get("CPU", 0.0) < 1:
            self._tell(
                "the Ray cluster has no CPU free: waiting for what runs there (a worker that has"
                " ended gives its CPU back within a minute)"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()


def installed_here(_: int) -> dict[str, str]:
    """The versions that decide about bytes, on the machine that is asked."""
    found = {"fluxbatch-engine": __version__, "Python": platform.python_version()}
    for package in _WRITERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _answer_there(cwd: str, request: bytes) -> bytes:
    """On a node: relative paths are those of the one who asks."""
    with suppress(OSError):  # it does not see that folder, and is refused for it where that matters
        os.chdir(cwd)
    return answer_to(request)


def _first_line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(exc).__name__
