"""Kills at any time: it never pays twice and never loses what was paid."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.killing import SPEED, Victim, check, held, hidden
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.object_store import ObjectStore, object_store

_FLAGS = ("--speed", str(SPEED), "--image-size", "64", "--duration", "5")


@pytest.fixture(params=["card", "docs"])
def emulator(request: pytest.FixtureRequest) -> Iterator[EmulatorProcess]:
    with emulator_process(*_FLAGS, dialect=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore | None:
    """Where images are: in the dataset's folder, or in an object store."""
    if request.param == "folder":
        return None
    running: ObjectStore = request.getfixturevalue("bucket")
    return running


def _victim(
    folder: Path, emulator: EmulatorProcess, jobs: int, store: ObjectStore | None = None
) -> Victim:
    victim = Victim(folder, emulator, store=store)
    victim.write(jobs)
    return victim


def test_a_run_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, emulator: EmulatorProcess
) -> None:
    victim = _victim(tmp_path, emulator, 16)
    process = victim.start(die_at="running:4")
    assert process.wait(60) == -signal.SIGKILL, victim.log()
    _ends_well(victim, 16)


@pytest.mark.proof
@pytest.mark.parametrize(
    ("seed", "store"), [(1, "folder"), (2, "folder"), (3, "s3")], indirect=["store"]
)
def test_a_dozen_kills_at_random_moments(
    tmp_path: Path, emulator: EmulatorProcess, seed: int, store: ObjectStore | None
) -> None:
    """
    Killed and started again and again, the run ends as if nothing had happened.
    """
    victim = _victim(tmp_path, emulator, 80, store)
    victim.kill_at_random(6, random.Random(seed), longest_s=2.5, good=_good(victim))
    _ends_well(victim, 80)


@pytest.mark.proof
@pytest.mark.parametrize(
    "moment",
    [
        "submitting:1",
        "submitting:13",
        "running:4",
        "succeeded:2",
        "stored:1",
        "stored:9",
        "done:5",
        "job-generated:7",
    ],
)
def test_a_kill_right_after_each_change_of_state(
    tmp_path: Path, emulator: EmulatorProcess, moment: str, store: ObjectStore | None
) -> None:
    """
    Twice at the same kind of moment: the next start takes up exactly what was there.
    """
    victim = _victim(tmp_path, emulator, 16, store)
    for _ in range(2):
        process = victim.start(die_at=moment)
        process.wait(60)
        assert process.returncode in {-signal.SIGKILL, *_good(victim)}, victim.log()
    _ends_well(victim, 16)


@pytest.mark.proof
@pytest.mark.parametrize("moment", ["unknown:1", "absent:1", "refused:2", "errored:2"])
def test_a_kill_right_after_a_change_that_went_wrong(
    tmp_path: Path, emulator: EmulatorProcess, moment: str
) -> None:
    """
    Creates without an answer, 429s and failed predictions, and then the kill.
    """
    emulator.faults(
        create_reset_after={"chance": 1, "times": 2},
        create_reset_before={"chance": 1, "times": 2},
        create_429_rate={"chance": 1, "times": 3},
        prediction_error={"chance": 1, "times": 3},
    )
    victim = _victim(tmp_path, emulator, 16)
    process = victim.start(die_at=moment)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL, victim.log()
    _ends_well(victim, 16)


@pytest.mark.proof
def test_kills_between_webhooks(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    Deliveries to nobody, to the next process, early and twice; in the end all is as without them.

    But for lost creates that cannot be told from one that a kill hid, where no webhook came and
    answers give no input back: their money is held.
    """
    emulator.faults(webhook_early=0.2, webhook_repeat=0.2, webhook_lost=0.1, create_reset_after=0.1)
    victim = _victim(tmp_path, emulator, 60)
    victim.hooks_port = _free_port()
    victim.kill_at_random(5, random.Random(3), longest_s=2.5, good=_good(victim))
    for moment in ("submitting:2", "running:3", "succeeded:2"):
        process = victim.start(die_at=moment)
        process.wait(60)
        assert process.returncode in {-signal.SIGKILL, *_good(victim)}, victim.log()
    _ends_well(victim, 60)
    assert emulator.stats()["webhooks_delivered"] > 20


def _good(victim: Victim) -> set[int]:
    """
    Where answers give no input back, creates that kills hid may stay several that explain one
    execution (docs/design/protocol.md 3.4). Their money is held then, and the run says so by 7.
    """
    return {0, 7} if victim.emulator.dialect == "card" else {0}


def _ends_well(victim: Victim, jobs: int) -> None:
    """Every job is done; or what is not is held, and a create that a kill hid is among it."""
    if victim.finish(good=_good(victim)) == 0:
        check(victim, jobs)
        return
    assert hidden(victim), victim.log()
    assert held(victim)["held"] <= 5, victim.log()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
