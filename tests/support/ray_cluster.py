"""A Ray cluster of several nodes on one machine, in a process of its own that a test may harm.

Ray would leave threads and warnings in the tests' own process. As a program it makes the cluster
that its first line of input describes, says its address, and obeys a line at a time.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STORE_BYTES = 80 << 20
_FRUGAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""What nobody here looks at is not made: it would take longer than the tests' own work."""
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class RayProcess:
    """A cluster at work."""

    process: subprocess.Popen[str]
    folder: Path
    """Of its sessions: everything that Ray writes."""
    address: str
    dashboard: str
    """`http://HOST:PORT`."""

    def remove(self, node: int) -> None:
        """The node is gone at once, with every process on it."""
        self._tell("remove", node)

    def add(self, environment: Mapping[str, str], *, another: Path | None = None) -> None:
        """A node more; where the others see the folder *another*, it sees an empty one."""
        self._tell("add", dict(environment), str(another or ""))

    def _tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "done"


@contextmanager
def ray_process(
    nodes: Sequence[Mapping[str, str]], *, version: str = "", dashboard: bool = False
) -> Iterator[RayProcess]:
    """A head without a CPU, and a node of one CPU for each environment.

    *version*: what the cluster says its Ray is, instead of the truth.
    """
    folder = Path(tempfile.mkdtemp(prefix="fb-ray-"))  # a short path: sockets lie in it
    asked = {"folder": str(folder), "nodes": [dict(one) for one in nodes], "version": version,
             "dashboard": dashboard}  # fmt: skip
    # What a node has, it has of its own: nothing of a test's keys is in Ray's own environment.
    env = {name: text for name, text in os.environ.items() if not name.startswith("EACHLABS_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.ray_cluster"],
            cwd=PROJECT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, start_new_session=True,
        )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(asked), file=process.stdin, flush=True)
        line = process.stdout.readline()
        assert line.startswith("{"), (folder / "log").read_text()
        yield RayProcess(process, folder, **json.loads(line))
    finally:
        try:
            process.communicate(timeout=30)  # its input ends, and so does it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _main(asked: dict[str, Any]) -> None:
    os.environ |= _FRUGAL | {"RAY_TMPDIR": asked["folder"]}
    Path(asked["folder"], "ray").mkdir()
    import ray
    from ray.cluster_utils import Cluster

    if asked["version"]:
        ray.__version__ = asked["version"]
    common: dict[str, Any] = {"object_store_memory": _STORE_BYTES}
    cluster = Cluster()
    head = cluster.add_node(
        num_cpus=0, include_dashboard=asked["dashboard"], dashboard_port=_free_port(), **common
    )
    nodes = [cluster.add_node(num_cpus=1, env_vars=env, **common) for env in asked["nodes"]]
    cluster.wait_for_nodes()
    told = {"address": cluster.address, "dashboard": f"http://{head.webui_url}"}
    print(json.dumps(told), flush=True)  # noqa: T201
    for line in sys.stdin:
        match json.loads(line):
            case ["remove", int(number)]:
                _end_at_once(cluster, nodes[number])
            case ["add", env, another]:
                if another:
                    _mount_another(another)
                nodes.append(cluster.add_node(num_cpus=1, env_vars=env, **common))
        print("done", flush=True)  # noqa: T201
    cluster.shutdown()


def _end_at_once(cluster: Any, node: Any) -> None:
    """As where the power goes: the raylet first, which can tell nobody, then what it started."""
    (raylet,) = node.all_processes["raylet"]
    below = _descendants(raylet.process.pid)
    for pid in [raylet.process.pid, *below]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def _mount_another(place: str) -> None:
    """From here on this process, and what it starts, sees an empty folder at *place*."""
    new_mounts = 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(new_mounts):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", tempfile.mkdtemp(), place], check=True)


def _descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    children = [int(one) for one in text.split()]
    return children + [one for child in children for one in _descendants(child)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _main(json.loads(sys.stdin.readline()))
