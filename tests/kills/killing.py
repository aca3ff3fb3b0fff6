"""The kill of a real `fluxbatch run` with -9, its restart, and the comparison of all records.

Times are scaled: the provider's minute lasts six seconds, and with it windows, lags and
timeouts. What is compared is exact: the ledger, the files and the emulator's own books.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fluxbatch.domain.filenames import sidecar_path
from tests.support.commands import KEY
from tests.support.emulator import EmulatorProcess
from tests.support.object_store import ObjectStore

SPEED = 10
SCALED = {
    "FLUXBATCH_LIMITS__WINDOW": str(60 / SPEED),
    "FLUXBATCH_PROVIDER__TIMEOUT": "1.5",
    "FLUXBATCH_PROVIDER__DEADLINE": "60",
    "FLUXBATCH_RECONCILE__LAG": "0.6",
    "FLUXBATCH_SINK__MIN_FREE": "0",
    # Nobody else uses the emulator, so the card's answers do, which give no input back.
    "FLUXBATCH_RECONCILE__SOLE_USER": "true",
}
PHOTO = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos" / "rocket.jpg"


@dataclass(slots=True)
class Victim:
    """One dataset under fire."""

    folder: Path
    emulator: EmulatorProcess
    budget: str = ""
    """Of the whole dataset, in dollars."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Beyond `SCALED`, by their names in the environment."""
    hooks_port: int = 0
    """Where it listens for webhooks; 0: it does not."""
    store: ObjectStore | None = None
    """Where its images are; None: in its folder."""

    @property
    def place(self) -> str:
        """Of its images in the store."""
        return f"images-of/{self.folder.name.replace('[', '-').replace(']', '')}"

    @property
    def out(self) -> Path:
        return self.folder / "dataset"

    def write(self, jobs: int) -> None:
        rows = [{"prompt": f"a rocket, {n}", "control_image": str(PHOTO)} for n in range(jobs)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "manifest.jsonl").write_text(text)

    def start(self, *, die_at: str = "") -> subprocess.Popen[bytes]:
        """The real command; with *die_at* it kills itself right after that change is durable."""
        program = ["-m", "tests.kills.doomed", die_at] if die_at else ["-m", "fluxbatch"]
        command = [
            sys.executable, *program, "run", str(self.folder / "manifest.jsonl"),
            "--out", str(self.out), "--base-url", self.emulator.base_url, "--json",
        ]  # fmt: skip
        log = (self.folder / "log.txt").open("ab")
        with log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env={
                    **os.environ,
                    **SCALED,
                    **spoken(self.emulator.dialect),
                    **self.settings,
                    **({"FLUXBATCH_BUDGET__PER_DATASET": self.budget} if self.budget else {}),
                    **(_stored_in(self.store, self.place) if self.store is not None else {}),
                    **(_hooks_at(self.hooks_port) if self.hooks_port else {}),
                    "EACHLABS_API_KEY": KEY,
                    "XDG_STATE_HOME": str(self.folder / "state"),
                },
            )

    def kill_at_random(
        self,
        kills: int,
        dice: random.Random,
        longest_s: float,
        good: Collection[int] = frozenset({0}),
    ) -> int:
        """Start and kill until so many kills are done or the work is; how many were done."""
        for done in range(kills):
            process = self.start()
            try:
                process.wait(dice.uniform(0.2, 1.0) * longest_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            else:
                assert process.returncode in good, self.log()
                return done
        return kills

    def finish(self, timeout_s: float = 120, good: Collection[int] = frozenset({0})) -> int:
        """Let it run to its end, which must be a good one; the exit code."""
        code = self.start().wait(timeout_s)
        assert code in good, self.log()
        return code

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()[-3_000:]


def spoken(dialect: str) -> dict[str, str]:
    auth = "bearer" if dialect == "docs" else "x-api-key"
    return {"FLUXBATCH_PROVIDER__DIALECT": dialect, "FLUXBATCH_PROVIDER__AUTH": auth}


def _stored_in(store: ObjectStore, place: str) -> dict[str, str]:
    store.make(place.partition("/")[0])
    return {**store.env, "FLUXBATCH_SINK__STORE": f"s3://{place}"}


def _files_of(victim: Victim) -> dict[str, bytes]:
    """Everything below `images/`, by its path."""
    if victim.store is None:
        return {
            path.relative_to(victim.out).as_posix(): path.read_bytes()
            for path in (victim.out / "images").rglob("*")
            if path.is_file()
        }
    assert not (victim.out / "images").exists()
    objects = victim.store.contents(victim.place)
    del objects["fluxbatch.json"]  # whose they are
    return objects


def _hooks_at(port: int) -> dict[str, str]:
    return {
        "FLUXBATCH_WEBHOOK__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "FLUXBATCH_WEBHOOK__LISTEN": f"127.0.0.1:{port}",
    }


def check(victim: Victim, jobs: int) -> dict[str, int]:
    """Everybody agrees: nothing paid twice, nothing lost, nothing left over."""
    stats = victim.emulator.stats()
    connection = sqlite3.connect(victim.out / "ledger.sqlite")
    try:
        done = connection.execute("SELECT COUNT(*) FROM jobs WHERE state = 'done'").fetchone()[0]
        spent = connection.execute("SELECT SUM(cost) FROM predictions").fetchone()[0]
        stored = dict(connection.execute("SELECT path, sha256 FROM outputs WHERE state = 'stored'"))
        reserved = connection.execute("SELECT SUM(reserved) FROM budgets").fetchone()[0]
    finally:
        connection.close()
    there = _files_of(victim)
    told = {path: json.loads(there.pop(path)) for path in [*there] if path.endswith(".json")}
    files = {path: hashlib.sha256(content).hexdigest() for path, content in there.items()}
    assert {path: facts["sha256"] for path, facts in told.items()} == {
        sidecar_path(path): sha256 for path, sha256 in stored.items()
    }
    assert stats["double_billed"] == 0
    assert done == jobs
    assert files == stored
    assert len(files) == jobs
    assert spent == stats["billed_micro_usd"]
    assert reserved == 0
    assert stats["worst_window"] <= 100
    assert stats["worst_concurrency"] <= 10
    assert not list((victim.out / "tmp").iterdir())
    return {name: int(stats[name]) for name in ("created", "billed", "double_billed")}


def held(victim: Victim) -> dict[str, int]:
    """Some creates stayed unknown: their money is held, and nothing was paid twice."""
    stats = victim.emulator.stats()
    connection = sqlite3.connect(victim.out / "ledger.sqlite")
    try:
        states = dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
        spent, reserved, unknown = connection.execute(
            "SELECT SUM(cost), SUM(reserved), SUM(state = 'unknown') FROM predictions"
        ).fetchone()
    finally:
        connection.close()
    assert stats["double_billed"] == 0
    assert spent <= stats["billed_micro_usd"] <= spent + reserved
    assert set(states) <= {"done", "active"}
    named = {name: int(stats[name]) for name in ("created", "billed", "double_billed")}
    return {**named, "held": int(unknown)}


def hidden(victim: Victim) -> int:
    """How many unknown creates a kill has hidden: nobody knows that they have left."""
    connection = sqlite3.connect(victim.out / "ledger.sqlite")
    try:
        (count,) = connection.execute(
            "SELECT COUNT(*) FROM predictions WHERE state = 'unknown' AND left_at IS NULL"
        ).fetchone()
    finally:
        connection.close()
    return int(count)


def wait_for_creates(emulator: EmulatorProcess, count: int, timeout_s: float = 20) -> None:
    """Until the provider has accepted so many."""
    end = time.monotonic() + timeout_s
    while emulator.stats()["created"] < count:
        assert time.monotonic() < end, "too slow"
        time.sleep(0.02)  # asked without a rest, the provider is busy answering
