"""Many workers on one PostgreSQL ledger: killed, stopped, cut off, and what it costs.

    python -m benchmarks.many_machines SCENARIO...

Scenarios: kills, takeover, stopped, silent, budget, limit, server, two, joins, slots, rows. Each
starts a strict emulator and a real server (fsync on); their books decide. Leases are as in life.
The provider gives inputs back (`docs`): where it does not, creates that a kill hides on several
accounts at once cannot be told apart, and stay unknown with their money held.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.kills.sharing import SharedRun
from tests.support.emulator import emulator_process
from tests.support.postgres_server import postgres_server
from tests.support.silent_proxy import silent_proxy

LIFE = {
    "FLUXBATCH_LIMITS__WINDOW": "60",
    "FLUXBATCH_PROVIDER__TIMEOUT": "30",
    "FLUXBATCH_PROVIDER__DEADLINE": "900",
    "FLUXBATCH_RECONCILE__LAG": "30",
}
"""As users have it."""
_WORKERS = 3


@contextmanager
def night(jobs: int, *emulator_flags: str, accounts: int = 12, **more: Any) -> Iterator[SharedRun]:
    flags = ("--image-size", "64", "--duration", "10", *emulator_flags)
    with (
        postgres_server() as server,
        emulator_process(*flags, dialect="docs") as emulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        run = SharedRun(Path(folder), server, emulator, accounts=accounts, **more)
        run.write(jobs)
        try:
            yield run
        finally:
            run.end()


def _start(run: SharedRun, workers: int = _WORKERS) -> None:
    for worker in range(workers):
        run.start(worker)


def kills() -> dict[str, Any]:
    """1: 600 jobs on 12 accounts, a worker killed and started again 30 times."""
    began = time.monotonic()
    with night(600, "--speed", "1", settings=LIFE) as run:
        _start(run)
        done = run.kill_at_random(30, random.Random(7), longest_s=5.0)
        codes = run.finish(900)
        assert codes == [0] * _WORKERS, (codes, run.logs())
        reconciled = _verb(run, "reconcile")
        return {
            "kills": done,
            "codes": codes,
            **run.check(600),
            "reconcile": reconciled,
            "seconds": round(time.monotonic() - began, 1),
        }


def _verb(run: SharedRun, verb: str) -> int:
    import subprocess

    return subprocess.run(
        [sys.executable, "-m", "fluxbatch", verb, run.address, "--base-url", run.emulator.base_url],
        env=run.environment(),
        capture_output=True,
        check=False,
    ).returncode


def takeover() -> dict[str, Any]:
    """2: a lane's holder is killed and stays dead: seconds to the next create on its accounts."""
    taken: list[float] = []
    with night(20_000, "--speed", "1", "--duration", "3", accounts=4, settings=LIFE) as run:
        _start(run, 2)
        time.sleep(12)
        for number in range(20):
            victim = number % 2
            holder = _holder(run, victim)
            lanes = {
                a
                for (a,) in run.rows(
                    f"SELECT account FROM fluxbatch.lanes WHERE holder = '{holder}'"
                )
            }
            before = _newest(run)
            run.kill(victim)
            killed = time.monotonic()
            while not any(_newest(run).get(a, 0) > before.get(a, 0) for a in lanes):
                assert time.monotonic() - killed < 60, run.logs()
                time.sleep(0.1)
            taken.append(time.monotonic() - killed)
            run.start(victim)
            deadline = time.monotonic() + 60
            while not _holder(run, victim, run.workers[victim].pid) and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(random.uniform(3, 6))
        twice = run.emulator.stats()["double_billed"]
    return {"times": 20, "worst_s": round(max(taken), 1), "double_billed": twice,
            "median_s": round(statistics.median(taken), 1)}  # fmt: skip


def _holder(run: SharedRun, worker: int, pid: int | None = None) -> str:
    """The id of the process that this worker is now, where it has a lane."""
    pid = pid or run.workers[worker].pid
    rows = run.rows(
        "SELECT w.id FROM workers w JOIN fluxbatch.lanes l ON l.holder = w.id"
        f" WHERE w.pid = {pid} LIMIT 1"
    )
    return str(rows[0][0]) if rows else ""


def _newest(run: SharedRun) -> dict[str, int]:
    return dict(run.rows("SELECT account, max(seq) FROM predictions GROUP BY account"))


def stopped() -> dict[str, Any]:
    """3: a worker stands still for a minute (SIGSTOP): how long the others' creates pause."""
    with night(1_500, "--speed", "1", settings=LIFE) as run:
        _start(run)
        time.sleep(15)
        pauses = []
        for victim in (0, 1):
            run.signal(victim, signal.SIGSTOP)
            pauses.append(_longest_pause(run, 60, but=victim))
            run.signal(victim, signal.SIGCONT)
            time.sleep(10)
        codes = run.finish(900)
        return {"longest_pause_s": [round(p, 1) for p in pauses], "codes": codes,
                **run.check(1_500)}  # fmt: skip


def _longest_pause(run: SharedRun, seconds: float, but: int) -> float:
    """The longest time without an intent of the other workers."""
    del but
    end, last, seen, longest = time.monotonic() + seconds, time.monotonic(), 0, 0.0
    while time.monotonic() < end:
        ((now,),) = run.rows("SELECT max(seq) FROM predictions")
        if now != seen:
            longest, last, seen = max(longest, time.monotonic() - last), time.monotonic(), now
        time.sleep(0.05)
    return max(longest, time.monotonic() - last)


def silent() -> dict[str, Any]:
    """3: a worker is cut off from the database for a minute, by a proxy that says nothing."""
    with night(1_500, "--speed", "1", settings=LIFE) as run:
        with silent_proxy(run.server.port) as proxy:
            run.start(0)
            run.start(1)
            run.url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
            run.start(2)
            run.url = ""
            time.sleep(15)
            proxy.silence()
            pause = _longest_pause(run, 60, but=2)
            proxy.speak()
            codes = run.finish(900)
        return {"longest_pause_s": round(pause, 1), "codes": codes, **run.check(1_500)}


def budget() -> dict[str, Any]:
    """4: $5.00 for 400 jobs, with kills: exactly 200 billed; again: none."""
    with night(400, "--speed", "2", settings=LIFE, flags=("--budget", "5.00")) as run:
        _start(run)
        done = run.kill_at_random(10, random.Random(3), longest_s=3.0)
        codes = run.finish(900)
        billed = run.emulator.stats()["billed"]
        _start(run)
        again = run.finish(120)
        return {"kills": done, "codes": codes, "billed": billed, "again": again,
                "billed_again": run.emulator.stats()["billed"],
                "double_billed": run.emulator.stats()["double_billed"]}  # fmt: skip


def limit() -> dict[str, Any]:
    """4: `--limit 50`: exactly 50."""
    with night(400, "--speed", "2", settings=LIFE, flags=("--limit", "50")) as run:
        _start(run)
        codes = run.finish(300)
        return {"codes": codes, "billed": run.emulator.stats()["billed"]}


def server() -> dict[str, Any]:
    """5: every connection ended every 5 s for 5 minutes, and two immediate restarts."""
    with night(2_400, "--speed", "1", settings=LIFE) as run:
        _start(run)
        end, ended, number = time.monotonic() + 300, 0, 0
        while time.monotonic() < end and any(p.poll() is None for p in run.workers.values()):
            time.sleep(5)
            number += 1
            if number in {20, 40}:
                run.server.restart("immediate")
                continue
            with psycopg.connect(run.server.url, autocommit=True) as connection:
                rows = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()
                ended += len(rows)
        codes = run.finish(1_200)
        return {"connections_ended": ended, "restarts": 2, "codes": codes, **run.check(2_400)}


def two() -> dict[str, Any]:
    """7: two datasets share one key, a worker each."""
    with night(150, "--speed", "4", accounts=1, settings=LIFE | {
            "FLUXBATCH_LIMITS__WINDOW": "15"}) as run:  # fmt: skip
        other = SharedRun(
            run.folder, run.server, run.emulator, accounts=1, dataset="others",
            keyring="pictures", name="OTHER", settings=run.settings,
        )  # fmt: skip
        other.write(150)
        run.start(0)
        time.sleep(5)
        other.start(1)
        codes = run.finish(900) + other.finish(900)
        stats = run.emulator.stats()
        return {"codes": codes, "worst_window": stats["worst_window"], "billed": stats["billed"],
                "worst_concurrency": stats["worst_concurrency"],
                "refused": stats["refused_rate"] + stats["refused_concurrent"]}  # fmt: skip


def joins() -> dict[str, Any]:
    """7: a second worker joins: seconds until each holds half of the lanes."""
    with night(4_000, "--speed", "1", settings=LIFE) as run:
        run.start(0)
        time.sleep(20)
        run.start(1)
        began = time.monotonic()
        while True:
            shares = [n for (n,) in run.rows(
                "SELECT count(*) FROM fluxbatch.lanes WHERE holder IS NOT NULL"
                " AND account NOT LIKE 'import of%' GROUP BY holder")]  # fmt: skip
            if sorted(shares) == [6, 6] or time.monotonic() - began > 120:
                break
            time.sleep(0.2)
        return {"seconds": round(time.monotonic() - began, 1), "shares": sorted(shares)}


def slots() -> dict[str, Any]:
    """8: 50 accounts on two workers: the share of the slot time, in the first minute and later."""
    accounts = 50
    with night(10_000, "--speed", "1", accounts=accounts, settings=LIFE) as run:
        _start(run, 2)
        run.until(lambda: run.emulator.stats()["created"] >= 1)
        seen = [run.emulator.stats()]
        for _ in range(3):
            time.sleep(60)
            seen.append(run.emulator.stats())
        shares = [
            (later["slot_seconds"] - one["slot_seconds"])
            / (10 * accounts * (later["now_s"] - one["now_s"]))
            for one, later in itertools.pairwise(seen)
        ]
        return {"of_each_minute": [round(share, 3) for share in shares],
                "refused": seen[-1]["refused_rate"] + seen[-1]["refused_concurrent"]}  # fmt: skip


def rows() -> dict[str, Any]:
    """8: a million rows are imported by one worker, and the first create leaves."""
    jobs = 1_000_000
    with night(jobs, "--duration", "0.1", flags=("--limit", "1"), settings=LIFE) as run:
        began = datetime.now(UTC)
        _start(run, 1)
        codes = run.finish(600)
        ((imported_at, left_at),) = run.rows(
            "SELECT max(imported_at), (SELECT min(left_at) FROM predictions) FROM manifests"
        )
        imported, left = (datetime.fromisoformat(at) for at in (imported_at, left_at))
        return {"rows_a_second": round(jobs / (imported - began).total_seconds()), "codes": codes,
                "first_create_s": round((left - imported).total_seconds(), 2)}  # fmt: skip


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    scenario.__name__: scenario
    for scenario in (
        kills,
        takeover,
        stopped,
        silent,
        budget,
        limit,
        server,
        two,
        joins,
        slots,
        rows,
    )
}


if __name__ == "__main__":
    for word in sys.argv[1:]:
        sys.stdout.write(json.dumps({"scenario": word, **SCENARIOS[word]()}) + "\n")
