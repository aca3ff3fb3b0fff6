"""A few jobs from everywhere before the rest is bought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.engine.request import Canary
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ExitCode
from tests.integration.test_cli_run import run, write_manifest
from tests.support.emulator import QUICK, EmulatorProcess, emulator_process
from tests.support.running import Bench, make_rows, provider
from tests.support.terminal import on_terminal

pytestmark = pytest.mark.proof


class Asked:
    """Somebody who answers, and what they saw."""

    def __init__(self, *, says: bool) -> None:
        self.saw: list[RunSummary] = []
        self._says = says

    async def __call__(self, summary: RunSummary, failed: int) -> bool:
        self.saw.append(summary)
        return self._says


async def test_a_yes_buys_the_rest_in_the_same_run_under_the_same_cap(tmp_path: Path) -> None:
    """
    Five jobs, one of each fifth of the manifest; then all of them, each paid once.
    """
    bench, asked = Bench(tmp_path), Asked(says=True)
    async with provider() as emulator:
        manifest = bench.write(make_rows(40))
        summary = await bench.run(
            emulator.base_url, manifest, budget="1.00", canary=Canary(5, asked)
        )

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["billed"] == 40
        (seen,) = asked.saw
        assert seen.jobs.of(JobState.DONE) == 5
        assert seen.run_id == summary.run_id
        first = bench.query("SELECT position FROM jobs JOIN predictions p ON p.job_seq = jobs.seq"
                            " ORDER BY p.seq LIMIT 5")  # fmt: skip
        assert sorted((position - 1) // 8 for (position,) in first) == [0, 1, 2, 3, 4]


async def test_a_no_leaves_the_rest_pending(tmp_path: Path) -> None:
    """
    Exit 4 with the reason; without a canary the next run makes the others.
    """
    bench, asked = Bench(tmp_path), Asked(says=False)
    async with provider() as emulator:
        manifest = bench.write(make_rows(20))
        summary = await bench.run(emulator.base_url, manifest, canary=Canary(4, asked))
        assert summary.exit_code is ExitCode.STOPPED
        assert "canary" in summary.reason
        assert emulator.stats["billed"] == 4

        assert (await bench.run(emulator.base_url, manifest)).exit_code is ExitCode.DONE
        assert emulator.stats["billed"] == 20


async def test_nobody_is_asked_where_nothing_would_be_left_or_bought(tmp_path: Path) -> None:
    """
    A canary as large as the manifest, and one that a budget has stopped.
    """
    bench, asked = Bench(tmp_path), Asked(says=True)
    async with provider() as emulator:
        small = bench.write(make_rows(3))
        done = await bench.run(emulator.base_url, small, canary=Canary(5, asked))
        assert done.exit_code is ExitCode.DONE

        large = bench.write(make_rows(30))
        capped = await bench.run(emulator.base_url, large, budget="0.05", canary=Canary(9, asked))
        assert capped.exit_code is ExitCode.STOPPED
        assert asked.saw == []
        assert emulator.stats["billed"] == 5


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process(*QUICK) as running:
        yield running


def test_without_a_terminal_it_stops_and_yes_goes_on(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 4 names what was made; `--yes` asks nothing, unless one of them failed.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 12)
    stopped = run(emulator, manifest, "--canary", 3)
    assert stopped.code == 4
    assert stopped.object["jobs"]["done"] == 3
    assert "canary: 3 jobs done" in stopped.err
    assert str(tmp_path / "d" / "images") in stopped.err

    emulator.faults(prediction_filtered={"chance": 1, "times": 1})
    failed = run(emulator, manifest, "--canary", 2, "--yes")
    assert failed.code == 4
    assert "1 failed" in failed.err

    went_on = run(emulator, manifest, "--canary", 2, "--yes")
    assert went_on.object["jobs"]["done"] == 11


@pytest.mark.parametrize(("typed", "code", "billed"), [("y\n", 0, 12), ("\n", 4, 3)])
def test_whoever_sits_at_the_terminal_is_asked(
    typed: str, code: int, billed: int, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The live screen makes room for the question; anything but yes is no.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 12)
    words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url)
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with on_terminal(*words, "--canary", "3", env=env) as seen:
        assert "9 jobs to go" in seen.wait_for("Go on?")
        seen.type(typed)
        assert seen.finish() == code, seen.text

    assert emulator.stats()["billed"] == billed
