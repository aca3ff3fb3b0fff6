"""Workers that Ray has placed beside plain processes: slot time, CPU a job, and Ray's own memory.

`python -m benchmarks.ray_workers [ACCOUNTS [MINUTES]]`: 50 accounts over three workers, jobs of
10 s, one shared ledger; first three plain processes, then three on a cluster of a head and three
nodes, all on this machine. The first minute begins with the first create.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.many_machines import LIFE, night
from benchmarks.side import tell
from tests.kills.sharing import SharedRun
from tests.kills.test_ray import driver, of_a_node
from tests.support.ray_cluster import RayProcess, ray_process

_ACCOUNTS = 50
_MINUTES = 3
_WORKERS = 3
_DURATION_S = 10
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(accounts: int = _ACCOUNTS, minutes: int = _MINUTES) -> None:
    rows: dict[str, dict[str, object]] = {}
    with _load(accounts, minutes) as run:
        for worker in range(_WORKERS):
            run.start(worker)
        rows["processes"] = _figures(run, minutes)
    with _load(accounts, minutes) as run:
        nodes = [of_a_node(run, number) for number in range(_WORKERS)]
        with ray_process(nodes) as cluster, driver(run, cluster, _WORKERS):
            rows["on Ray"] = {**_figures(run, minutes), "ray_mb": _ray_mb(run, cluster)}
    cpu = [float(str(row["cpu_ms_per_job"])) for row in rows.values()]
    rows["ratio"] = {"cpu": round(cpu[1] / cpu[0], 3)}
    tell("ray_workers", rows, keep=(accounts, minutes) == (_ACCOUNTS, _MINUTES))


@contextmanager
def _load(accounts: int, minutes: int) -> Iterator[SharedRun]:
    jobs = round(accounts * 10 * (minutes + 1.5) * 60 / _DURATION_S)
    with night(jobs, "--speed", "1", accounts=accounts, settings=LIFE) as run:
        yield run


def _figures(run: SharedRun, minutes: int) -> dict[str, object]:
    """The share of the slot time in each minute; CPU of all of them but the first."""
    run.until(lambda: run.emulator.stats()["created"] >= 1)
    seen = [run.emulator.stats()]
    cpu_s: list[float] = []
    for _ in range(minutes):
        time.sleep(60)
        seen.append(run.emulator.stats())
        cpu_s.append(_cpu_s(_workers(run)))
    shares = [
        (later["slot_seconds"] - one["slot_seconds"])
        / (10 * run.accounts * (later["now_s"] - one["now_s"]))
        for one, later in itertools.pairwise(seen)
    ]
    jobs = seen[-1]["billed"] - seen[1]["billed"]
    return {
        "first_minute": round(shares[0], 3),
        "later": round(min(shares[1:]), 3),
        "cpu_ms_per_job": round(1_000 * (cpu_s[-1] - cpu_s[0]) / jobs, 2),
        "refused": seen[-1]["refused_rate"] + seen[-1]["refused_concurrent"],
    }


def _workers(run: SharedRun) -> list[int]:
    return [int(pid) for (pid,) in run.rows("SELECT pid FROM workers ORDER BY pid")]


def _cpu_s(pids: Iterable[int]) -> float:
    """Of the processes and of their children that have ended."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in pids) / _TICKS


def _stat(pid: int) -> list[str]:
    """Fields from the third on: what stands before may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ray_mb(run: SharedRun, cluster: RayProcess) -> int:
    """Of everything in the cluster's session but our workers."""
    session, ours = os.getsid(cluster.process.pid), set(_workers(run))
    pids = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]
    bytes_ = 0
    for pid in set(pids) - ours:
        try:
            fields = _stat(pid)
        except OSError:
            continue
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if int(fields[3]) == session or b"ray" in words.partition(b"\0")[0]:
            bytes_ += int(fields[21]) * _PAGE
    return round(bytes_ / 2**20)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
