"""A run on a Ray cluster whose nodes and driver vanish: nothing is paid twice, nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.kills.killing import SCALED, spoken
from tests.kills.sharing import PROJECT, SharedRun, provider_of_machines
from tests.support.emulator import EmulatorProcess
from tests.support.postgres_server import PostgresServer
from tests.support.ray_cluster import RayProcess, ray_process

pytestmark = [
    pytest.mark.machines,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]
_PASSWORD = "pw-of-the-database-8c1f"
_BEGINS_S = 90.0
"""Ray starts a process for each worker first."""
_DASHBOARD = (
    "api/v0/actors?detail=true",
    "api/v0/tasks?detail=true",
    "api/v0/workers?detail=true",
    "api/v0/nodes?detail=true",
    "api/v0/runtime_envs?detail=true",
    "api/v0/jobs?detail=true",
    "api/jobs/",
    "api/v0/tasks/summarize",
    "api/cluster_status",
    "events",
    "logical/actors",
    "nodes?view=summary",
)


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with provider_of_machines() as running:
        yield running


@pytest.fixture
def shared(server: PostgresServer, emulator: EmulatorProcess, tmp_path: Path) -> SharedRun:
    """A run of a dataset of its own."""
    return SharedRun(tmp_path, server, emulator, dataset=tmp_path.name[:50])


def of_a_node(run: SharedRun, number: int) -> dict[str, str]:
    """What a node has of its own: keys by environment, or by file as every other node."""
    mine = run.environment(number)
    own = {name: text for name, text in mine.items() if os.environ.get(name) != text}
    if number % 2:
        path = run.folder / f"keys-{number}"
        path.write_text(own.pop("EACHLABS_API_KEYS").replace(",", "\n"))
        path.chmod(0o600)
        own["EACHLABS_API_KEY_FILE"] = str(path)
    return own | {"PGPASSWORD": _PASSWORD}


def typed(run: SharedRun, workers: int) -> list[str]:
    """The command line of a user."""
    return [
        "-m", "fluxbatch", "run", str(run.folder / f"{run.dataset}.jsonl"),
        "--out", run.address, "--run", run.name, "--base-url", run.emulator.base_url, "--json",
        "--on", "ray", "--workers", str(workers),
    ]  # fmt: skip


def called(run: SharedRun, workers: int) -> list[str]:
    """A user's program that does the same."""
    program = f"""
import fluxbatch
from fluxbatch.errors import ConfigError

try:
    summary = fluxbatch.run(
        {str(run.folder / f"{run.dataset}.jsonl")!r}, out={run.address!r},
        base_url={run.emulator.base_url!r}, run_name={run.name!r}, on="ray", workers={workers},
    )
except ConfigError as exc:
    raise SystemExit(f"refused: {{exc}}")
print(summary.as_json())
raise SystemExit(int(summary.exit_code))
"""
    return ["-c", program]


def awaited(run: SharedRun, workers: int) -> list[str]:
    """The same from async code."""
    source, out = str(run.folder / f"{run.dataset}.jsonl"), run.address
    program = f"""
import asyncio, fluxbatch

summary = asyncio.run(fluxbatch.Dataset.open({out!r}).run(
    {source!r}, base_url={run.emulator.base_url!r}, run_name={run.name!r}, on="ray",
    workers={workers},
))
print(summary.as_json())
"""
    return ["-c", program]


@contextmanager
def driver(
    run: SharedRun,
    cluster: RayProcess,
    workers: int = 3,
    *,
    words: Callable[[SharedRun, int], list[str]] = typed,
) -> Iterator[subprocess.Popen[str]]:
    """What a user starts: it has no key, for the nodes have theirs."""
    command = [sys.executable, *words(run, workers)]
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith("EACHLABS_")},
        **SCALED,
        **spoken(run.emulator.dialect),
        "FLUXBATCH_SINK__STORE": f"file://{run.images}",
        **run.settings,
        "RAY_ADDRESS": cluster.address,
        "PGPASSWORD": _PASSWORD,
        "XDG_STATE_HOME": str(run.folder / "state-of-the-driver"),
    }
    with subprocess.Popen(
        command, env=env, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], code: int) -> str:
    """What it said, once it has ended with *code*."""
    try:
        text, _ = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        raise AssertionError(f"it does not end: {text}") from None
    assert process.returncode == code, text
    return text


def until_created(run: SharedRun, count: int) -> None:
    """Until the provider has accepted so many; asked now and then, for Ray needs the processor."""
    end = time.monotonic() + _BEGINS_S
    while run.emulator.stats()["created"] < count:
        assert time.monotonic() < end, "too slow"
        time.sleep(0.1)


def hosts_at_work(run: SharedRun) -> int:
    ((count,),) = run.rows("SELECT count(*) FROM workers")
    return int(count)


@dataclass(frozen=True, slots=True)
class Shown:
    """What Ray shows to whoever looks: its files and its dashboard."""

    texts: Mapping[str, bytes]

    @classmethod
    def by(cls, cluster: RayProcess) -> Shown:
        files = {
            str(path): path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()
        }
        answers = {}
        for path in _DASHBOARD:
            with urllib.request.urlopen(f"{cluster.dashboard}/{path}", timeout=30) as answer:
                answers[path] = answer.read()
        return cls(files | answers)

    def where(self, text: str) -> list[str]:
        return [place for place, content in self.texts.items() if text.encode() in content]


def test_a_node_and_the_driver_vanish_and_every_job_is_paid_once(shared: SharedRun) -> None:
    """
    One node goes without a word, then the driver; the same command attaches, and ends with 0. No
    key and no password has come to Ray meanwhile.
    """
    shared.write(600)
    nodes = [of_a_node(shared, number) for number in range(3)]
    with ray_process(nodes, dashboard=True) as cluster:
        with driver(shared, cluster) as first:
            until_created(shared, 120)
            assert hosts_at_work(shared) == 3
            cluster.remove(1)
            until_created(shared, 300)
            first.kill()
            first.wait()
        until_created(shared, 350)  # nobody watches, and they go on
        with driver(shared, cluster) as second:
            text = said(second, 0)
        shown = Shown.by(cluster)
    assert "3 workers of this run found; 1 of them lost, until a node has room" in text
    told = shared.check(600)
    assert told["billed"] == 600
    assert shown.where(shared.name)
    assert "logical/actors" in shown.where("PlacedWorker")
    assert shown.where("secret-") == []
    assert shown.where(_PASSWORD) == []


def test_a_program_places_workers_as_the_command_does(shared: SharedRun) -> None:
    """
    It waits for the run's end, and a killed one changes nothing: another call, from async code or
    not, waits again, and of a run that has ended it tells the end. What a node lacks is named.
    """
    shared.accounts = 2
    shared.write(120)
    with ray_process([of_a_node(shared, number) for number in range(2)]) as cluster:
        with driver(shared, cluster, workers=3, words=called) as process:
            too_few = said(process, 1)
        assert shared.emulator.stats()["created"] == 0
        with driver(shared, cluster, workers=2, words=called) as first:
            until_created(shared, 20)
            assert hosts_at_work(shared) == 2
            first.kill()
            first.wait()
        with driver(shared, cluster, workers=2, words=awaited) as second:
            waited = said(second, 0)
    with driver(shared, cluster, workers=2, words=called) as third:
        ended_before = said(third, 0)  # needs no cluster
    assert "refused: --workers 3 asks for more workers than the Ray cluster has nodes" in too_few
    for text in (waited, ended_before):
        assert "'exit': 0" in text
        assert "'done': 120" in text
    assert shared.check(120)["billed"] == 120


@pytest.mark.parametrize("is_program", [False, True], ids=["command", "program"])
def test_workers_leave_when_they_are_told_to(shared: SharedRun, is_program: bool) -> None:
    """
    Whoever watched went away before; what was bought by then is fetched.
    """
    words = called if is_program else typed
    shared.accounts = 2
    shared.write(400)
    with ray_process([of_a_node(shared, 0)]) as cluster:
        with driver(shared, cluster, workers=1) as first:
            until_created(shared, 20)
            first.send_signal(signal.SIGINT)
            assert "the run goes on" in said(first, 130)
        with driver(shared, cluster, workers=0, words=words) as none:
            text = said(none, 130 if is_program else 0)
    if is_program:
        assert "'exit': 130" in text
    else:
        assert "1 worker of this run told to leave" in text
        assert "the workers have left" in text
    assert hosts_at_work(shared) == 0
    ((done,),) = shared.rows("SELECT count(*) FROM jobs WHERE state = 'done'")
    stats = shared.emulator.stats()
    assert 20 <= done == stats["created"] == stats["billed"] < 400


def test_what_a_node_lacks_is_named_and_nothing_is_bought(shared: SharedRun) -> None:
    """
    A node too few; a node without a key; a node where another disk is mounted.
    """
    shared.write(3)
    keyless = of_a_node(shared, 0) | {"EACHLABS_API_KEYS": ""}
    with ray_process([of_a_node(shared, 0), keyless]) as cluster:
        with driver(shared, cluster, workers=3) as process:
            too_few = said(process, 2)
        with driver(shared, cluster, workers=2) as process:
            no_key = said(process, 2)
        cluster.remove(1)
        cluster.add(of_a_node(shared, 2), another=shared.images)
        with driver(shared, cluster, workers=2) as process:
            blind = said(process, 2)
    assert "more workers than the Ray cluster has nodes with a CPU (2:" in too_few
    assert "nothing was spent" in no_key
    assert "EACHLABS_API_KEY" in no_key
    assert len(set(re.findall(r"node [0-9a-f]{8}", no_key))) == 1
    assert "mount the same one on every node" in blind
    assert shared.emulator.stats()["created"] == 0


def test_a_cluster_of_another_ray_is_refused_with_the_remedy(shared: SharedRun) -> None:
    shared.write(3)
    with (
        ray_process([], version="2.41.0") as cluster,
        driver(shared, cluster, workers=1) as process,
    ):
        assert "use the same Ray and the same Python on all nodes and here" in said(process, 2)
