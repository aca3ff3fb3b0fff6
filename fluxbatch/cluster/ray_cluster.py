"""The Ray cluster of this machine: found, checked, and the nodes of it that take work.

Owns the one connection to Ray that a process has, and that what cannot be used is refused in plain
words before anything is placed. Keys and passwords never go through Ray: its dashboard and its
logs show what it is given. Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from fluxbatch.errors import ConfigError

NAMESPACE = "fluxbatch"
_CONNECT_S = 5.0
_NEEDS_RAY = "--on ray needs Ray: pip install 'fluxbatch-engine[ray]'"
_NO_CLUSTER = (
    "start one with `ray start --head` and `ray start --address HEAD:6379` on the other nodes, run"
    " this on one of them, and set RAY_ADDRESS=HEAD:6379 where it is not found by itself"
)


class RayNode(NamedTuple):
    """A node that is alive."""

    node_id: str
    host: str
    address: str
    """Its IP address."""
    cpus: float
    """As Ray was told, not as the machine has."""

    @property
    def name(self) -> str:
        """The node as people know it."""
        return f"{self.host} ({self.address}, node {self.node_id[:8]})"


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster that this process is connected to."""

    ray: Any
    """The module, for whoever places work."""
    address: str

    def nodes(self) -> list[RayNode]:
        """Every node that is alive and has a CPU for work, the first one first."""
        found = [
            RayNode(
                one["NodeID"],
                one["NodeManagerHostname"],
                one["NodeManagerAddress"],
                one["Resources"].get("CPU", 0.0),
            )
            for one in self.ray.nodes()
            if one["Alive"]
        ]
        return sorted(node for node in found if node.cpus >= 1)


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[RayCluster]:
    """Be connected to the cluster at *address*, at RAY_ADDRESS, or of this machine.

    Nothing of this process's environment goes to the cluster. Raises `ConfigError` where there is
    no cluster, or one of another version of Ray or Python.
    """
    place = address or os.environ.get("RAY_ADDRESS") or "auto"
    _refuse_unreachable(place)
    # One attempt: whoever types this waits for the answer.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    try:
        import ray
    except ImportError:
        raise ConfigError(_NEEDS_RAY) from None
    before = signal.getsignal(signal.SIGTERM)
    try:
        context = ray.init(
            address=place,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            ignore_reinit_error=True,
        )
    except Exception as exc:
        raise ConfigError(_why_refused(place, exc)) from exc
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would turn it into exit 15
    try:
        yield RayCluster(ray, context.address_info["gcs_address"])
    finally:
        ray.shutdown()


def _refuse_unreachable(place: str) -> None:
    """Ray itself waits for minutes, and writes about it."""
    if place in {"auto", "local"}:
        if place == "local":
            raise ConfigError(f"RAY_ADDRESS is 'local', which is no cluster: {_NO_CLUSTER}")
        return
    scheme, _, _ = place.rpartition("://")
    if scheme:
        raise ConfigError(
            f"the Ray address {place!r} is a client's: run this on a node of the cluster, and set"
            " RAY_ADDRESS=HEAD:6379"
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"the Ray address {place!r} is not of the form HOST:PORT: {_NO_CLUSTER}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"no Ray cluster answers at {place!r} ({exc}): {_NO_CLUSTER}") from exc


def _why_refused(place: str, exc: Exception) -> str:
    text = " ".join(str(exc).split())
    if "ersion mismatch" in text:
        return (
            f"the Ray cluster has another version ({text}): use the same Ray and the same Python on"
            " all nodes and here"
        )
    if isinstance(exc, ConnectionError) and place == "auto":
        return f"no Ray cluster is at work on this machine: {_NO_CLUSTER}"
    return f"the Ray cluster at {place!r} cannot be used ({text}): {_NO_CLUSTER}"
