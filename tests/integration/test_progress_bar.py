"""The progress bar outside of a notebook: none by itself, one where it is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_RUN = """
import sys
{before}
import fluxbatch
from tests.integration.test_api import KEYS, make_rows
summary = fluxbatch.run(make_rows(4), out=sys.argv[1], base_url=sys.argv[2], keys=KEYS, {options})
assert int(summary.exit_code) == 0
assert "IPython" not in sys.modules
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def ran(
    emulator: EmulatorProcess, tmp_path: Path, options: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    program = _RUN.format(options=options, before=before)
    return subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "d"), emulator.base_url],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", ["", "progress=False", "progress=None"])
def test_a_program_has_no_bar_unless_it_asks(
    emulator: EmulatorProcess, tmp_path: Path, options: str
) -> None:
    ended = ran(emulator, tmp_path, options)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_program_that_asks_has_a_bar_on_stderr(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    With the caller's own function called as well.
    """
    ended = ran(emulator, tmp_path, "progress=True, on_status=lambda status: print(status.run_id)")

    assert ended.returncode == 0, ended.stderr
    assert "4/4" in ended.stderr.splitlines()[-1]
    assert "4 images, $0.10 spent" in ended.stderr
    assert len(set(ended.stdout.split())) == 1


def test_a_bar_that_cannot_be_had_is_refused_before_anything_is_bought(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    emulator.reset()
    ended = ran(emulator, tmp_path, "progress=True", before='sys.modules["tqdm"] = None')

    assert ended.returncode == 1
    assert "a progress bar needs tqdm: pip install 'fluxbatch-engine[notebook]'" in ended.stderr
    assert emulator.stats()["created"] == 0


def test_a_program_without_tqdm_runs_as_ever(emulator: EmulatorProcess, tmp_path: Path) -> None:
    assert ran(emulator, tmp_path, "", before='sys.modules["tqdm"] = None').returncode == 0
