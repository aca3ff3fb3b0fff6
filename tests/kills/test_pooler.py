"""Many processes on one ledger through PgBouncer, which gives each transaction another session."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.sharing import SharedRun
from tests.kills.sharing import emulator as emulator
from tests.support import pgbouncer
from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess
from tests.support.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(pgbouncer.program() is None, reason=pgbouncer.ABSENT),
]


@pytest.fixture
def shared(
    request: pytest.FixtureRequest,
    server: PostgresServer,
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[SharedRun]:
    """A run whose workers have four sessions of the server between them."""
    with (
        pgbouncer.pooled(server, sessions=4) as url,
        SharedRun(tmp_path, server, emulator, dataset=request.node.name[:60], url=url) as run,
    ):
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


def test_every_verb_finds_its_own_dataset(shared: SharedRun, tmp_path: Path) -> None:
    """
    A run is paused, resumed and told of, images are judged and exported: no session has a memory.
    """
    shared.accounts = 2
    shared.write(80)
    shared.start(0)
    shared.until(lambda: shared.emulator.stats()["created"] > 0)
    paused = fluxbatch("ctl", shared.address, "pause", "--json")
    assert (paused.code, paused.object["workers"][0]["obeys"]) == (0, True), paused.err
    shared.start(1)
    shared.until(lambda: len(shared.rows("SELECT 1 FROM workers WHERE obeys = 1")) == 2)
    assert fluxbatch("ctl", shared.address, "resume").code == 0
    assert shared.finish() == [0, 0], shared.logs()
    assert shared.check(80)["billed"] == 80
    for words in (
        ("rate", shared.address, "#1", "#2", "keep"),
        ("status", shared.address),
        ("why", shared.address, "#1"),
        ("reconcile", shared.address, "--base-url", shared.emulator.base_url),
        ("repair", shared.address, "--base-url", shared.emulator.base_url),
    ):
        ended = fluxbatch(*words, env=shared.environment())
        assert ended.code == 0, ended.err
    kept = tmp_path / "kept.jsonl"
    to = ("--to", kept, "--where", "rating=keep")
    assert fluxbatch("export", shared.address, "-f", "jsonl", *to).code == 0
    assert len(kept.read_text().splitlines()) == 2
