"""Many processes on one ledger, and any of them may vanish: nothing is paid twice or lost."""

from __future__ import annotations

import random

import pytest

from tests.kills.sharing import SharedRun, shared_run
from tests.kills.sharing import emulator as emulator

pytestmark = pytest.mark.proof


shared = shared_run()


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
