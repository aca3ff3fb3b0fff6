"""The sync twins of the async verbs: inside a running loop, and ended by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from fluxbatch import Dataset
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError, ExitCode
from tests.integration.test_api import KEYS, make_rows
from tests.kills.killing import wait_for_creates
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_IN_A_CELL = """
import asyncio, sys
import fluxbatch
from tests.integration.test_api import KEYS, make_rows

async def cell():
    sync = fluxbatch.Dataset(sys.argv[1]).sync
    try:
        sync.run(make_rows(20), base_url=sys.argv[2], keys=KEYS)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(sync.status().jobs.of("pending") > 0, flush=True)

asyncio.new_event_loop().run_until_complete(cell())  # a loop that leaves Ctrl-C alone
"""


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorProcess]:
    monkeypatch.setenv("EACHLABS_API_KEY", "sk-api-test-1")
    with emulator_process() as running:
        yield running


async def test_every_twin_works_inside_a_running_loop(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    As in a cell of a notebook: each call has a thread and a loop of its own.
    """
    sync = Dataset(tmp_path / "d").sync
    summary = sync.run(make_rows(3), base_url=emulator.base_url, keys=KEYS)
    image = next(path for result in sync.rows("status=done") for path in result.paths)
    image.unlink()

    repaired, reconciled = sync.repair(), sync.reconcile()
    cancelled, pruned = sync.cancel(wait_s=1.0), sync.prune_uploads()
    with pytest.raises(ConfigError, match="no run is at work"), sync.running():
        pass
    for path in (tmp_path / "d").glob("ledger.sqlite*"):
        path.unlink()
    recovered = sync.recover(base_url=emulator.base_url)

    assert summary.exit_code is ExitCode.DONE
    assert (repaired.fetched, image.exists()) == (1, True)
    for report in (reconciled, cancelled, pruned, recovered):
        assert report.ended()[0] is ExitCode.DONE
    assert sync.totals().images == 3
    assert sync.plan(make_rows(3), base_url=emulator.base_url, keys=KEYS).jobs.to_buy == 0


async def test_a_run_at_work_is_steered_without_await(tmp_path: Path) -> None:
    """
    By code that does not know that it is in another's thread.
    """
    dataset = Dataset(tmp_path / "d")

    def steer() -> list[bool]:
        with dataset.sync.running() as run:
            run.pause("a look")
            limits = run.limits(creates=50, slots=5)
            shown = run.show()
            run.resume()
            run.stop("enough")
        return [shown["paused"], *(one["changed"] for one in limits)]

    with emulator_process("--speed", "20", "--image-size", "64") as emulator:
        async with anyio.create_task_group() as tasks:

            async def buy() -> None:
                await dataset.run(make_rows(60), base_url=emulator.base_url, keys=KEYS)

            tasks.start_soon(buy)
            await anyio.to_thread.run_sync(wait_for_creates, emulator, 3)
            told = await anyio.to_thread.run_sync(steer)

    assert told == [True, True, True]
    assert dataset.status().changes[0][1] == "paused"
    assert dataset.status().jobs.of(JobState.PENDING) > 0


def test_ctrl_c_ends_a_twin_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """
    What was bought by then is adopted, and nothing is bought twice.
    """
    with emulator_process("--speed", "10", "--image-size", "64", dialect="docs") as emulator:
        emulator.faults(any_auth=1)
        words = [sys.executable, "-c", _IN_A_CELL, str(tmp_path / "d"), emulator.base_url]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            wait_for_creates(emulator, 3)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)

        assert (process.returncode, said.split()) == (0, ["interrupted", "True"])
        summary = Dataset(tmp_path / "d").sync.run(
            make_rows(20),
            base_url=emulator.base_url,
            keys=KEYS,
            settings={"reconcile.lag": "1s"},
        )
        assert summary.exit_code is ExitCode.DONE
        assert summary.jobs.of(JobState.DONE) == emulator.stats()["billed"] == 20
