"""Rerolls of a dataset in PostgreSQL: made once, whoever asks meanwhile and is killed when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.sharing import SharedRun
from tests.kills.sharing import emulator as emulator
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.machines

PRICE = 25_000
JOBS = 20


@pytest.fixture
def rejected(
    request: pytest.FixtureRequest,
    server: PostgresServer,
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[SharedRun]:
    """A dataset whose images are all rejected."""
    with SharedRun(tmp_path, server, emulator, accounts=2, dataset=request.node.name[:50]) as run:
        run.write(JOBS)
        run.start(0)
        assert run.finish() == [0], run.logs()
        assert fluxbatch("rate", run.address, "--where", "prompt", "reject").code == 0
        yield run


def words(run: SharedRun, budget: str) -> tuple[object, ...]:
    return ("reroll", run.address, "--where", "rating=reject", "--base-url", run.emulator.base_url,
            "--budget", budget, "--json")  # fmt: skip


_AT_WORK = "SELECT id FROM workers WHERE seen_at > clock_timestamp() - interval '15 s'"


def test_two_at_once_make_each_row_once(rejected: SharedRun) -> None:
    """
    They work together, one is told that the other does, or one finds nothing left.
    """
    env = rejected.environment()
    asked = words(rejected, "0.50")
    with started(*asked, env=env) as one, started(*asked, env=env) as other:
        talk = [process.communicate(timeout=150)[1] for process in (one, other)]

    codes = {one.returncode, other.returncode}
    assert 0 in codes <= {0, 6}, talk
    stats = rejected.emulator.stats()
    assert (stats["billed"], stats["double_billed"]) == (2 * JOBS, 0)
    assert rejected.rows("SELECT max(number), count(*) FROM rerolls") == [(1, JOBS)]


def test_one_that_is_killed_goes_on_within_the_same_budget(rejected: SharedRun) -> None:
    """
    What it had on its way is adopted, and its spending counts.
    """
    env = rejected.environment()
    with started(*words(rejected, "0.50"), env=env) as killed:
        rejected.until(lambda: rejected.emulator.stats()["created"] > JOBS + 3)
        killed.kill()
    rejected.until(lambda: not rejected.rows(_AT_WORK))  # that it is dead, nobody knows before
    again = fluxbatch(*words(rejected, "0.50"), env=env, timeout=110)

    assert again.code == 0, again.err
    stats = rejected.emulator.stats()
    assert (stats["billed_micro_usd"], stats["double_billed"]) == (2 * JOBS * PRICE, 0)
    assert again.object["cost_usd"]["run"] == "0.50"
    assert rejected.rows("SELECT max(number), count(*) FROM rerolls") == [(1, JOBS)]
