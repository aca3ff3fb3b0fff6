"""Exports by several processes: the same bytes as by one, the same refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch import Dataset
from fluxbatch.cli import main
from fluxbatch.errors import ConfigError
from fluxbatch.export.formats import EXPORT_FORMATS
from fluxbatch.export.output_dir import ExportFailed
from tests.export.made import control_file, files_of, made_dataset, row

KINDS = ("png", "jpg", "webp")
SPLITS = ("train=60%", "test=40%")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Eleven rows of every kind of image, one that failed, some with a control image."""
    control = control_file(tmp_path / "control.png")
    rows = [
        row(number, f"row {number}", control=control if number % 4 == 0 else None)
        for number in range(1, 12)
    ]
    with made_dataset(tmp_path / "d", rows) as maker:
        for number, one in enumerate(rows[:-1]):
            maker.done(one, KINDS[number % 3])
        maker.failed(rows[-1])
    return tmp_path / "d"


@pytest.mark.parametrize("form", sorted(EXPORT_FORMATS))
def test_two_processes_write_the_same_bytes_as_one(
    form: str, dataset: Path, tmp_path: Path
) -> None:
    """
    Shards, marks, tables, metadata and card; and again they find nothing to do.
    """
    one, two = (
        Dataset(dataset).export(
            form,
            tmp_path / f"by-{processes}" / "export",
            splits=SPLITS,
            shard_size=2,
            include_failed=True,
            processes=processes,
        )
        for processes in (1, 2)
    )
    again = Dataset(dataset).export(
        form, two.path, splits=SPLITS, shard_size=2, include_failed=True, processes=2
    )

    assert files_of(one.path) == files_of(two.path)
    assert one.written == two.written > 4
    assert one.files == two.files == again.files
    assert (again.written, again.kept) == (0, one.written)


def test_the_flag_is_the_keyword(dataset: Path, tmp_path: Path) -> None:
    """
    Of images as columns too.
    """
    words = ["export", str(dataset), "--format", "parquet", "--embed-images", "--shard-size", "3"]
    assert main([*words, "--to", str(tmp_path / "flag"), "--processes", "2"]) == 0
    made = Dataset(dataset).export(
        "parquet", tmp_path / "keyword", embed_images=True, shard_size=3, processes="auto"
    )

    assert files_of(made.path) == files_of(tmp_path / "flag")


def test_an_image_that_is_not_the_ledger_s_ends_it_the_same_way(
    dataset: Path, tmp_path: Path
) -> None:
    """
    The message names file and remedy; mended, the next export leaves the whole.
    """
    broken = sorted((dataset / "images").iterdir())[5]
    before = broken.read_bytes()
    broken.write_bytes(before[:-1])
    said = []
    for processes in (1, 2):
        with pytest.raises(ExportFailed) as caught:
            Dataset(dataset).export(
                "webdataset", tmp_path / f"by-{processes}", shard_size=1, processes=processes
            )
        said.append(str(caught.value))
    broken.write_bytes(before)

    for processes in (1, 2):
        Dataset(dataset).export(
            "webdataset", tmp_path / f"by-{processes}", shard_size=1, processes=processes
        )
    assert said[0] == said[1]
    assert "fluxbatch repair" in said[0]
    assert files_of(tmp_path / "by-1") == files_of(tmp_path / "by-2")


@pytest.mark.parametrize("processes", ["0", "two", "1,5", "-1", "99999"])
def test_a_number_that_cannot_be_meant_is_refused_before_anything_is_made(
    processes: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(dataset), "--format", "webdataset", "--to", str(tmp_path / "to")]

    assert main([*words, f"--processes={processes}"]) == 2
    assert "--processes" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="processes"):
        Dataset(dataset).export("webdataset", tmp_path / "to", processes=processes)
    assert not (tmp_path / "to").exists()


def test_a_process_that_writes_shards_begins_with_little() -> None:
    """
    It needs neither ledger nor settings, whose imports take longer than a small shard.
    """
    program = (
        "import sys, fluxbatch.shards.child, fluxbatch.export.shard_writer\n"
        "print(*{'sqlalchemy', 'pydantic', 'aiohttp', 'jinja2'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ended.stdout.split() == []
