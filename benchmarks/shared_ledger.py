"""The shared ledger alone: several writers on one PostgreSQL, four durable transitions a job.

    python -m benchmarks.shared_ledger [--writers 4] [--seconds 60] [--delay-ms 0.5]

No provider, no images: each writer is a process with the engine's own `LedgerWriter`, its
lease and 64 jobs under way, every one intended, accepted, succeeded and stored. A proxy delays
what a writer sends, so that a round trip takes as long as to a server nearby. The server keeps
what it commits (fsync on). Printed: jobs a second, CPU of a writer a job, deadlocks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from random import Random
from typing import NamedTuple

import anyio
import psycopg

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.infra.garbage import collect_seldom
from fluxbatch.infra.runtime import SystemClock, in_thread
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.operations.intents import Intend, Intent, KeyUse
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.operations.transitions import Evidence, Transition
from fluxbatch.ledger.sharing.lanes import Lease, renew_lanes, take_lanes
from fluxbatch.ledger.sharing.workers import join
from fluxbatch.ledger.writer import LedgerWriter
from tests.ledger.support import DAY, NO_CAPS, PRICE, Books, admit, make_rows
from tests.support.postgres_server import postgres_server

_AT_ONCE = 64
_DATASET = "ledger alone"
_MOST_JOBS_PER_S = 4_000
"""More than any machine has written yet: a writer that finds no job left fails."""
_RENEW_S = 3.0


class _Part(NamedTuple):
    """What one writer does."""

    url: str
    number: int
    writers: int
    seconds: float
    run_seq: int
    run_id: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="shared_ledger", description=__doc__)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--delay-ms", type=float, default=0.5)
    parser.add_argument("--writer", help=argparse.SUPPRESS)
    parser.add_argument("--proxy-to", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.proxy_to is not None:
        _proxy(given.proxy_to, given.delay_ms / 1_000)
    if given.writer is not None:
        collect_seldom()  # as a run does
        anyio.run(_write, _Part(*json.loads(given.writer)))
        return 0
    _measure(given.writers, given.seconds, given.delay_ms)
    return 0


def _measure(writers: int, seconds: float, delay_ms: float) -> None:
    with postgres_server() as server, ExitStack() as stack:
        with closing(PostgresDatabase(server.url, _DATASET, create=True)) as db:
            books = Books(db, checked=False)
            books.manifest_seq = books.import_rows("m", make_rows(int(seconds * _MOST_JOBS_PER_S)))
            run = books.open_run("run-1")
        with psycopg.connect(server.url) as connection:
            connection.execute(
                f"INSERT INTO \"{_DATASET}\".run_gates (run_seq, caps) VALUES ({run.seq}, '{{}}')"
            )
        processes = []
        for number in range(writers):
            port = _begin_proxy(stack, server.port, delay_ms) if delay_ms else server.port
            url = server.url.replace(f":{server.port}/", f":{port}/")
            part = _Part(url, number, writers, seconds, run.seq, run.run_id)
            processes.append(_begin("--writer", json.dumps(part)))
        ended = [json.loads(process.communicate()[0]) for process in processes]
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT sum(deadlocks) FROM pg_stat_database").fetchone()
        assert row is not None
    jobs = sum(one["jobs"] for one in ended)
    print(f"{writers} writers, {delay_ms:g} ms a round trip, {seconds:g} s")
    print(f"  {jobs / seconds:,.0f} jobs/s of four durable transitions ({jobs:,} jobs)")
    print(f"  {1_000 * sum(one['cpu_s'] for one in ended) / jobs:.2f} ms of a writer's CPU a job")
    print(f"  {row[0]} deadlocks")


def _begin(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.shared_ledger", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _begin_proxy(stack: ExitStack, port: int, delay_ms: float) -> int:
    """The port of a new one, which leads to *port*."""
    process = _begin("--proxy-to", str(port), "--delay-ms", str(delay_ms))
    stack.callback(process.kill)
    assert process.stdout is not None
    return int(process.stdout.readline())


def _proxy(port: int, delay_s: float) -> None:
    """Pass on what comes, what the writer sends *delay_s* later; until it is killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", port))
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, to, wait_s in ((near, far, delay_s), (far, near, 0.0)):
            threading.Thread(target=_pass_on, args=(source, to, wait_s), daemon=True).start()


def _pass_on(source: socket.socket, to: socket.socket, wait_s: float) -> None:
    while block := source.recv(65_536):
        if wait_s:
            time.sleep(wait_s)
        to.sendall(block)
    to.close()


class _Renew:
    """Keeps a writer's lane."""

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def apply(self, db: Database) -> None:
        assert renew_lanes(db, self._worker)


async def _keep_lane(ledger: LedgerWriter, worker: str) -> None:
    while True:
        await anyio.sleep(_RENEW_S)
        await ledger.apply(_Renew(worker))


async def _write(part: _Part) -> None:
    """One writer: its jobs are every n-th."""
    account, worker, key = (f"{name} {part.number}" for name in ("account", "worker", "key"))
    with closing(PostgresDatabase(part.url, _DATASET)) as db:
        db.begin()
        join(db, worker, "run", [account])
        epochs = take_lanes(db, worker, [account], 1)
        db.commit()
        key_use = KeyUse(account, key, key, Lease(worker, epochs[account]))
        ledger = LedgerWriter(db, in_thread)
        jobs = itertools.count(part.number + 1, part.writers)
        end = time.monotonic() + part.seconds
        began = _cpu_s()
        done = _Count()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.run)
            async with anyio.create_task_group() as keeping:
                keeping.start_soon(_keep_lane, ledger, worker)
                async with anyio.create_task_group() as busy:
                    for _ in range(_AT_ONCE):
                        busy.start_soon(_jobs, ledger, jobs, part, key_use, end, done)
                keeping.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
        spent = _cpu_s() - began
    print(json.dumps({"jobs": done.jobs, "cpu_s": spent}))


class _Count:
    jobs = 0


async def _jobs(
    ledger: LedgerWriter,
    jobs: Iterator[int],
    part: _Part,
    key_use: KeyUse,
    end: float,
    done: _Count,
) -> None:
    clock, names = SystemClock(), Random()
    while time.monotonic() < end:
        intend = Intend(
            at=clock.now(), run_seq=part.run_seq, run_id=part.run_id,
            job_seq=next(jobs), key_use=key_use, price=PRICE, caps=NO_CAPS, admit=admit,
            send_within_s=5.0, budget_day=DAY, seed=99, control_url=None,
        )  # fmt: skip
        intent = await ledger.apply(intend)
        assert isinstance(intent, Intent), intent
        seq = intent.prediction_seq
        name = PredictionId(f"{names.getrandbits(128):032x}")
        accepted = Evidence(provider_id=name, answered=clock.now())
        await ledger.apply(Transition(clock.now(), seq, PredictionEvent.ACCEPTED, accepted))
        made = Evidence(urls=("https://cdn.example.com/out.png",), cost=PRICE)
        moved = await ledger.apply(Transition(clock.now(), seq, PredictionEvent.SUCCEEDED, made))
        assert moved.wanted is not None
        (output,) = moved.wanted.outputs
        path = f"images/{output.output_seq}.png"
        await ledger.apply(
            StoreOutput(clock.now(), output.output_seq, path, "ab" * 32, 1_234, "image/png", 64, 48)
        )
        done.jobs += 1


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
