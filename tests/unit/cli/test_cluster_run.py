"""A run on a cluster before there is one: flags that cannot be meant, and a worker's command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fluxbatch.cli import main
from fluxbatch.cli.cluster_run import RunOnCluster, worker_words
from fluxbatch.cli.console import Console
from fluxbatch.cluster.placed_worker import WorkerEnd

_SHARED = "postgresql://flux@127.0.0.1:9/pictures/NIGHTLY"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--on", "slurm", "--workers", "2"], "--on 'slurm': workers can be placed with --on ray"),
        (["--workers", "2"], "--workers without --on"),
        (["--on", "ray"], "say how many workers with --workers N"),
        (["--on", "ray", "--workers", "2"], "name the run (--run NAME)"),
        (["--on", "ray", "--workers", "2", "--run", "N", "--canary", "3"], "not with --canary"),
        (["--on", "ray", "--workers", "2", "--run", "N", "--detach"], "not with --detach"),
    ],
)
def test_flags_that_do_not_go_with_a_cluster_are_refused(
    flags: list[str], why: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(rows), "--out", _SHARED, *flags]) == 2
    assert why in capsys.readouterr().err


def test_a_folder_instead_of_a_shared_ledger_is_refused(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--on", "ray", "--workers", "2", "--run", "N"]
    assert main(["run", str(rows), "--out", str(tmp_path / "folder"), *flags]) == 2
    told = capsys.readouterr().err
    assert "is a folder, which one process works on at a time" in told
    assert "--out postgresql://HOST/DATABASE/NAME" in told
    assert not (tmp_path / "folder").exists()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,control_image\na rocket,a.png\n")
    return path


@pytest.mark.parametrize(
    ("typed", "started"),
    [
        ("run a.csv --on ray --workers 3 --run N", "run --yes a.csv --run N"),
        ("run a.csv --workers=3 --yes --on=ray", "run a.csv --yes"),
        ("run -y a.csv --out on --on ray", "run -y a.csv --out on"),
    ],
)
def test_a_worker_is_started_by_what_was_typed_and_asks_nobody(typed: str, started: str) -> None:
    assert worker_words(typed.split()) == started.split()


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ([-2], 130, ["worker 0 has left", "; the same command goes on"]),
        ([2, 2], 2, ["worker 1 has ended with exit 2", "mend that first, then the same command"]),
        ([-9], 1, ["worker 0 has ended with exit -9", "; the same command goes on"]),
    ],
)
def test_workers_that_end_before_the_run_are_told_with_what_to_do(
    ends: list[int], code: int, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One that is told to leave before it can hear it is ended by the signal; what a worker refuses
    is refused again, until it is mended.
    """
    numbered = {number: WorkerEnd(one, ()) for number, one in enumerate(ends)}
    placement: Any = SimpleNamespace(workers=numbered, ends=lambda: numbered)
    dataset: Any = SimpleNamespace(has_ledger=lambda: False)

    watched = RunOnCluster(Console(), dataset, "N", "again", "anew")
    assert watched.until_ended(placement, "a run") == code
    told = capsys.readouterr().err
    assert all(words in told for words in said), told
