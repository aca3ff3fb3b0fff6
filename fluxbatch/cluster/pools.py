"""The pool of shards that a command line or a call asks for.

Owns which words there are for it. Ray is imported only where it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fluxbatch.errors import ConfigError
from fluxbatch.shards.pool import ShardPool
from fluxbatch.shards.processes import process_pool

_RAY = "ray"


@contextmanager
def shard_pool(
    processes: int | str = 1, on: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> Iterator[ShardPool]:
    """So many *processes* of this machine (`auto`: one a core), or the cluster *on* (`"ray"`);
    *tell* is told what is waited for.

    Raises `ConfigError` where neither can be meant or the cluster cannot be used.
    """
    if on is None:
        with process_pool(processes) as pool:
            yield pool
        return
    if on != _RAY:
        raise ConfigError(f"--on {on!r}: there is {_RAY!r}; leave it out to work on this machine")
    if processes not in (1, "1"):
        raise ConfigError(
            f"--processes {processes} is for this machine, and --on ray takes every CPU of the"
            " cluster: leave one of them out"
        )
    from fluxbatch.cluster.ray_cluster import ray_cluster
    from fluxbatch.cluster.ray_shards import RayPool

    with ray_cluster() as cluster, RayPool(cluster, tell) as there:
        yield there
