"""Reports by several processes: the same page and the same thumbnails as by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch import Dataset
from fluxbatch.cli import main
from fluxbatch.dataset.folder import Folder
from tests.report.datasets import large_dataset

pytestmark = pytest.mark.proof

JOBS = 1_050
"""More than two pages of the ledger, and than two shards a page."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Control images and failures among them; one image cannot be read, one is gone."""
    made = large_dataset(tmp_path_factory.mktemp("made") / "dataset", JOBS)
    broken, gone, *_ = sorted(made.images.iterdir())
    broken.unlink()  # it is a link to a picture of several
    broken.write_bytes(b"no image")
    gone.unlink()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_two_processes_make_the_same_report_as_one(dataset: Folder, tmp_path: Path) -> None:
    """
    By the flag and by the keyword; made once more, no thumbnail is new.
    """
    one = Dataset(dataset.root).report(tmp_path / "one")
    two = Dataset(dataset.root).report(tmp_path / "two", processes=2)
    again = Dataset(dataset.root).report(tmp_path / "two", processes="auto")
    words = ["report", str(dataset.root), "--to", str(tmp_path / "flag"), "--processes", "2"]

    assert main(words) == 0
    assert (one.images, one.thumbs_made) == (two.images, two.thumbs_made)
    assert two.thumbs_made > 900
    assert again.thumbs_made == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "flag")


@pytest.mark.parametrize("most", [0, 7, 500])
def test_what_is_not_shown_leaves_no_thumbnail(most: int, dataset: Folder, tmp_path: Path) -> None:
    """
    Also where the processes were ahead of the page, or an earlier report showed more.
    """
    for processes in (1, 2):
        to = tmp_path / f"by-{processes}"
        Dataset(dataset.root).report(to, most=most + 20, processes=processes)
        Dataset(dataset.root).report(to, most=most, processes=processes)

    assert contents(tmp_path / "by-1") == contents(tmp_path / "by-2")


def test_a_number_that_cannot_be_meant_makes_no_report(
    dataset: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", str(dataset.root), "--to", str(tmp_path / "to"), "--processes=none"]

    assert main(words) == 2
    assert "--processes 'none'" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
