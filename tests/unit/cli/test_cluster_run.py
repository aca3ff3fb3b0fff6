"""A run on a cluster before there is one: flags that cannot be meant, and a worker's command."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.cli import main
from fluxbatch.cli.cluster_run import worker_words

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
