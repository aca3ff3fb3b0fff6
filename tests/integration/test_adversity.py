"""Full disks, dead networks, a provider that hangs, everything at once: nothing is lost."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode, FluxbatchError, SinkError
from tests.kills.killing import SPEED, Victim, check, held, wait_for_creates
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.running import Bench, make_rows, provider

_TRANSIENT = (
    "create_reset_before", "create_reset_after", "create_500_before", "create_500_after",
    "create_504_html_after", "create_408_after", "create_garbled", "create_no_id",
    "create_429_rate", "create_429_concurrent", "get_500", "get_503_html", "get_reset", "get_429",
    "get_404", "get_garbled", "list_500", "list_reset", "presign_500", "put_500",
    "download_truncated", "download_html_200", "download_zero", "download_wrong_type",
    "download_403_expired", "download_500", "download_reset",
)  # fmt: skip


@pytest.fixture(params=["card", "docs"])
def emulator(request: pytest.FixtureRequest) -> Iterator[EmulatorProcess]:
    flags = ("--speed", str(SPEED), "--image-size", "64", "--duration", "5")
    with emulator_process(*flags, dialect=request.param) as one:
        yield one


@pytest.mark.proof
@pytest.mark.parametrize("dialect", ["card", "docs"])
async def test_every_transient_fault_at_once_ends_with_every_job_done(
    tmp_path: Path, dialect: str
) -> None:
    """
    One time in ten each: no job fails, none is billed twice.
    """
    settings = {
        "reconcile": {"patience": 60.0, "sole_user": True},
        "provider": {"deadline": 60.0},
    }
    bench = Bench(tmp_path, settings=settings)
    async with provider(duration_s=1.0, dialect=dialect) as emulator:
        emulator.core.faults.merge(dict.fromkeys(_TRANSIENT, 0.1))
        summary = await bench.run(emulator.base_url, bench.write(make_rows(30)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["double_billed"] == 0
        assert summary.run.spent == emulator.stats["billed_micro_usd"] == 30 * 25_000


async def test_a_disk_without_room_stops_creates_before_the_first(tmp_path: Path) -> None:
    """
    What cannot be stored is not bought; the setting is named.
    """
    bench = Bench(tmp_path, settings={"sink": {"min_free": "900TB"}})
    async with provider() as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(5)))

        assert summary.exit_code is ExitCode.ERROR
        assert "sink.min_free" in summary.reason
        assert emulator.stats["created"] == 0


async def test_a_disk_that_fills_up_loses_nothing_that_was_paid(tmp_path: Path) -> None:
    """
    The folder for images cannot be made: exit 1 names it; mended, the next run fetches for $0.
    """
    bench = Bench(tmp_path)
    bench.out.mkdir()
    (bench.out / "images").write_text("in the way")
    async with provider() as emulator:
        manifest = bench.write(make_rows(12))
        summary = await bench.run(emulator.base_url, manifest)
        bought = emulator.stats["created"]
        assert summary.exit_code is ExitCode.ERROR
        assert "images" in summary.reason
        assert bought > 0

        (bench.out / "images").unlink()
        after = await bench.run(emulator.base_url, manifest)
        assert after.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == emulator.stats["billed"] == 12


async def test_a_dataset_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    """
    A file stands where the folder should be.
    """
    bench = Bench(tmp_path)
    bench.out.write_text("not a folder")
    async with provider() as emulator:
        with pytest.raises((SinkError, FluxbatchError), match="dataset"):
            await bench.run(emulator.base_url, bench.write(make_rows(1)))

        assert emulator.stats["created"] == 0


async def test_a_name_that_does_not_resolve_sends_nothing(tmp_path: Path) -> None:
    """
    The jobs stay pending and the reason says that the provider cannot be reached.
    """
    bench = Bench(tmp_path, settings={"provider": {"deadline": 0.4}})
    summary = await bench.run("https://no-such-host.invalid/v1", bench.write(make_rows(2)))

    assert summary.exit_code is ExitCode.ERROR
    assert "cannot be reached" in summary.reason
    assert summary.jobs.of(JobState.PENDING) == 2


@pytest.mark.proof
def test_a_provider_that_hangs_for_a_while_is_outlived(
    tmp_path: Path, emulator: EmulatorProcess
) -> None:
    """
    Stopped for longer than every timeout and then let go on: nothing is paid twice.

    Where answers give no input back, creates that are all accepted as it goes on cannot be told
    apart: their money is held, and the run says so by 7 (docs/design/protocol.md 3.4).
    """
    emulator.faults(latency=2.0)  # a create is on its way, whenever it stops
    victim = Victim(tmp_path, emulator)
    victim.write(40)
    process = victim.start()
    wait_for_creates(emulator, 4)
    os.kill(emulator.process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        _wait(process.pid, 4.0)
    os.kill(emulator.process.pid, signal.SIGCONT)

    code = process.wait(120)
    assert code in ({0, 7} if emulator.dialect == "card" else {0}), victim.log()
    if code == 0:
        check(victim, 40)
    else:
        held(victim)
    with closing(sqlite3.connect(victim.out / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT 1 FROM predictions WHERE given_up_at > ''").fetchall()


def _wait(pid: int, seconds: float) -> None:
    """Until the process ends; `TimeoutError` where it does not."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            raise TimeoutError
    finally:
        os.close(descriptor)


@pytest.mark.proof
def test_faults_kills_and_a_cap_together(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    Under kills, faults and billed errors the provider's books never pass the dataset's cap.
    """
    emulator.faults(
        **dict.fromkeys(_TRANSIENT, 0.05), prediction_error=0.2, bill_errors=1, bill_cancelled=1
    )
    victim = Victim(tmp_path, emulator, budget="0.50")
    victim.write(60)
    victim.kill_at_random(4, random.Random(5), longest_s=2.5, good={0, 3, 4, 7})
    code = victim.start().wait(120)

    stats = emulator.stats()
    assert code in {3, 4, 7}, victim.log()
    assert stats["double_billed"] == 0
    assert stats["billed_micro_usd"] + stats["in_flight_micro_usd"] <= 500_000
