"""Many processes on one ledger, and any of them may vanish: nothing is paid twice or lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.sharing import SharedRun, provider_of_machines
from tests.support.emulator import EmulatorProcess
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.proof


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with provider_of_machines() as running:
        yield running


@pytest.fixture
def shared(
    request: pytest.FixtureRequest,
    server: PostgresServer,
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[SharedRun]:
    """A run of a dataset of its own."""
    with SharedRun(tmp_path, server, emulator, dataset=request.node.name[:60]) as run:
        yield run


def test_three_workers_that_are_killed_at_random_share_one_run(shared: SharedRun) -> None:
    shared.write(150)
    for worker in range(3):
        shared.start(worker)
    kills = shared.kill_at_random(6, random.Random(1), longest_s=4.0)
    assert shared.finish() == [0, 0, 0], shared.logs()
    assert kills >= 3
    told = shared.check(150)
    assert told["billed"] == 150
    assert (told["refused_rate"], told["refused_concurrent"]) == (0, 0)
