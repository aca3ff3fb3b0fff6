"""Standard streams that are closed or full: a run goes on, and its exit code is the run's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import KEY
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

MANIFEST = "prompt,control_image\na cat,https://images.example.org/a.png\n"


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def shell(place: Path, provider: EmulatorProcess, words: str, *, bare: bool = False) -> int:
    """*words* of the command line, redirections and all, in a shell."""
    root = str(Path(__file__).parents[2])
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place)} if bare else dict(os.environ)
    env |= {"EACHLABS_API_KEY": KEY, "EACHLABS_BASE_URL": provider.base_url, "PYTHONPATH": root}
    (place / "m.csv").write_text(MANIFEST)
    command = f'"{sys.executable}" -m fluxbatch {words}'
    ended = subprocess.run(["sh", "-c", command], cwd=place, env=env, timeout=60)
    return ended.returncode


@pytest.mark.parametrize(
    "streams",
    ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full",
     ">/dev/full 2>/dev/full", "--json >/dev/full", "<&- --canary 5 --yes"],
)  # fmt: skip
def test_a_run_ends_as_it_would_with_open_streams(
    streams: str, provider: EmulatorProcess, tmp_path: Path
) -> None:
    """Every image is there, and nothing that was said stands in the ledger."""
    provider.reset()
    assert shell(tmp_path, provider, f"run m.csv --out d --budget 1 {streams}") == 0
    assert provider.stats()["billed"] == 1
    assert len([path for path in (tmp_path / "d" / "images").iterdir() if path.suffix]) == 2
    assert (tmp_path / "d" / "ledger.sqlite").read_bytes().startswith(b"SQLite format 3")
    assert shell(tmp_path, provider, "ls d > out.txt") == 0


@pytest.mark.parametrize("words", ["plan m.csv", "version", "--help", "--version", "models"])
def test_what_only_shows_fails_where_nothing_can_be_shown(
    words: str, provider: EmulatorProcess, tmp_path: Path
) -> None:
    """Exit 1 in one line: a script must not take an empty file for an answer."""
    assert shell(tmp_path, provider, f"{words} >/dev/full 2>err.txt") == 1
    said = (tmp_path / "err.txt").read_text()
    assert "cannot write" in said
    assert "No space left on device" in said
    assert "Traceback" not in said


def test_crons_bare_environment_is_enough(provider: EmulatorProcess, tmp_path: Path) -> None:
    """No terminal, no language, no place of its own for state."""
    provider.reset()
    words = f"run m.csv --out d --budget 1 --quiet >{tmp_path}/out.txt 2>&1 </dev/null"
    assert shell(tmp_path, provider, words, bare=True) == 0
    assert provider.stats()["billed"] == 1
