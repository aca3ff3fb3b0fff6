"""Several real `fluxbatch run` on one PostgreSQL ledger, killed and started again at random.

Each worker has a state folder of its own, as on a machine of its own. Times are scaled as in
`killing`, but for leases, which are as in life.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from tests.kills.killing import PHOTO, SCALED, spoken
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.postgres_server import PostgresServer

PROJECT = Path(__file__).parents[2]
_PROVIDER = ("--speed", "10", "--image-size", "64", "--duration", "20")


def provider_of_machines() -> AbstractContextManager[EmulatorProcess]:
    """A provider whose jobs last long enough that machines come and go meanwhile."""
    return emulator_process(*_PROVIDER, dialect="docs")


@dataclass(slots=True)
class SharedRun:
    """One named run of one dataset, and the processes that work on it."""

    folder: Path
    server: PostgresServer
    emulator: EmulatorProcess
    accounts: int = 12
    flags: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    dataset: str = "pictures"
    keyring: str = ""
    """Whose keys; empty: the dataset's own."""
    keys_of: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """By worker: the numbers of its accounts; who is not named has a key of each."""
    name: str = "NIGHT"
    url: str = ""
    """Another way to the same server, a proxy's; empty: straight."""
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    codes: dict[int, list[int]] = field(default_factory=dict)
    """How each worker's processes ended, killed ones apart."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def address(self) -> str:
        return f"{self.url or self.server.url}/{self.dataset}"

    @property
    def images(self) -> Path:
        return self.folder / f"images of {self.dataset}"

    def write(self, jobs: int) -> None:
        """The manifest, and the place of the images."""
        rows = [{"prompt": f"a rocket, {n}", "control_image": str(PHOTO)} for n in range(jobs)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / f"{self.dataset}.jsonl").write_text(text)
        self.images.mkdir(exist_ok=True)

    def environment(self, worker: int = 0) -> dict[str, str]:
        owner = self.keyring or self.dataset
        numbers = self.keys_of.get(worker, range(self.accounts))
        keys = ",".join(f"key-{n}=secret-{owner}-{n}" for n in numbers)
        return {
            **os.environ,
            **SCALED,
            **spoken(self.emulator.dialect),
            "FLUXBATCH_SINK__STORE": f"file://{self.images}",
            **self.settings,
            "EACHLABS_API_KEY": "",
            "EACHLABS_API_KEYS": keys,
            "XDG_STATE_HOME": str(self.folder / f"state-{worker}"),
        }

    def start(self, worker: int, folder: Path | None = None) -> None:
        """One more process of that worker; its manifest is in *folder*, or in the run's."""
        manifest = (folder or self.folder) / f"{self.dataset}.jsonl"
        command = [
            sys.executable, "-m", "fluxbatch", "run", str(manifest),
            "--out", self.address, "--run", self.name, "--base-url", self.emulator.base_url,
            "--json", *self.flags,
        ]  # fmt: skip
        with self.log(worker).open("ab") as log:
            self.workers[worker] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=PROJECT,
                env=self.environment(worker),
            )  # fmt: skip

    def log(self, worker: int) -> Path:
        return self.folder / f"worker-{self.dataset}-{worker}.txt"

    def kill(self, worker: int) -> None:
        process = self.workers.pop(worker)
        process.kill()
        process.wait()

    def signal(self, worker: int, number: signal.Signals) -> None:
        self.workers[worker].send_signal(number)

    def kill_at_random(self, kills: int, dice: random.Random, longest_s: float) -> int:
        """Kill any worker and start it again, so often, or until the run has ended."""
        for done in range(kills):
            time.sleep(dice.uniform(0.3, 1.0) * longest_s)
            worker = dice.choice(sorted(self.workers))
            if self.workers[worker].poll() is not None:
                return done
            self.kill(worker)
            self.start(worker)
        return kills

    def finish(self, timeout_s: float = 180) -> list[int]:
        """Wait for all; their exit codes."""
        try:
            codes = [process.wait(timeout_s) for _, process in sorted(self.workers.items())]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.logs()}") from None
        self.workers.clear()
        return codes

    def end(self) -> None:
        """Whatever still runs, does no more."""
        for process in self.workers.values():
            process.kill()
            process.wait()

    def until(self, holds: Callable[[], bool], timeout_s: float = 120) -> None:
        """Wait for it, for as long as a lease and more may take."""
        give_up = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < give_up, self.logs()
            time.sleep(0.1)

    def rows(self, statement: str) -> list[Any]:
        """What the dataset's ledger answers."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f'SET search_path TO "{self.dataset}"')
            return connection.execute(statement).fetchall()

    def logs(self) -> str:
        texts = [path.read_text()[-2_500:] for path in sorted(self.folder.glob("worker-*.txt"))]
        return "\n=====\n".join(texts)

    def check(self, jobs: int) -> dict[str, int]:
        """Everybody agrees: nothing paid twice, nothing lost, nothing left over."""
        stats = self.emulator.stats()
        ((done,),) = self.rows("SELECT count(*) FROM jobs WHERE state = 'done'")
        ((spent,),) = self.rows("SELECT sum(cost) FROM predictions")
        ((reserved,),) = self.rows("SELECT sum(reserved) FROM budgets")
        stored = dict(self.rows("SELECT path, sha256 FROM outputs WHERE state = 'stored'"))
        files = {
            path.relative_to(self.images).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.images / "images").rglob("*")
            if path.is_file() and path.suffix != ".json"
        }
        assert stats["double_billed"] == 0, self.logs()
        assert done == jobs, self.logs()
        assert files == stored
        assert len(files) == jobs
        assert spent == stats["billed_micro_usd"]
        assert reserved == 0
        assert stats["worst_window"] <= 100
        assert stats["worst_concurrency"] <= 10
        names = ("created", "billed", "double_billed", "refused_rate", "refused_concurrent")
        return {name: int(stats.get(name, 0)) for name in names}


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    """For modules whose processes share a run: to be imported there."""
    with provider_of_machines() as running:
        yield running


def shared_run(accounts: int = 12) -> object:
    """The fixture `shared` of a module: a run of a dataset of its own for each test."""

    @pytest.fixture
    def shared(
        request: pytest.FixtureRequest,
        server: PostgresServer,
        emulator: EmulatorProcess,
        tmp_path: Path,
    ) -> Iterator[SharedRun]:
        name = request.node.name[:50]
        with SharedRun(tmp_path, server, emulator, accounts=accounts, dataset=name) as run:
            yield run

    return shared
