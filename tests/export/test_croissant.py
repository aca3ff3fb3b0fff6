"""Croissant metadata of every format, validated and read by MLCommons' own library."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fluxbatch.export.formats import EXPORT_FORMATS
from tests.export.made import exported, files_of, made_dataset, row

pytestmark = pytest.mark.proof

_READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlcroissant
dataset = mlcroissant.Dataset(sys.argv[1])
issues = dataset.metadata.issues
def plain(value):
    if hasattr(value, "tobytes"):
        return [value.size, value.convert("RGB").tobytes().hex()[:32]]
    return value.decode() if isinstance(value, bytes) else str(value)
def rows(name):
    return [{key: plain(value) for key, value in one.items()} for one in dataset.records(name)]
sets = {one.id: rows(one.id) for one in dataset.metadata.record_sets}
found = {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "sets": sets}
print(json.dumps(found))
"""


def read(path: Path) -> Mapping[str, Any]:
    """What the library says of the file and finds in its record sets; in a process of its own."""
    pytest.importorskip("mlcroissant")
    ended = subprocess.run(
        [sys.executable, "-c", _READ, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent.parent,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    told: Mapping[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in two splits, with what is nested and what is absent."""
    root = tmp_path_factory.mktemp("dataset") / "my shop's d"
    rows = [
        row(n, f"r{n}", meta={"split": "test" if n == 5 else "train", "shop": ["oslo", n]})
        for n in range(1, 6)
    ]
    with made_dataset(root, rows) as maker:
        for one in rows:
            maker.done(one)
    return root


@pytest.mark.parametrize("form", list(EXPORT_FORMATS))
def test_it_is_valid_and_every_row_is_read_by_it(dataset: Path, tmp_path: Path, form: str) -> None:
    """
    No error, and no warning but for what only the user can know; values as the export has them.
    """
    to = tmp_path / form
    embed = form == "parquet"
    exported(dataset, form, to, shard_size=3, embed_images=embed, license="cc-by-4.0")
    told = read(to / "croissant.json")
    rows = {one["rows/key"]: one for one in told["sets"]["rows"]}

    assert told["errors"] == []
    assert all("recommended" in one for one in told["warnings"])
    assert sorted(rows) == [f"r{n}_0" for n in range(1, 6)]
    first = rows["r1_0"]
    assert first["rows/prompt"] == "a lighthouse, 1"
    assert first["rows/split"] == "train"
    assert (float(first["rows/width"]), float(first["rows/cost_usd"])) == (16, 0.025)
    assert first["rows/stored_at"].startswith("20")
    if embed:
        assert first["rows/image"][0] == [16, 16]


@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_the_images_are_read_by_it(dataset: Path, tmp_path: Path, form: str) -> None:
    """
    Each by the name that its row has.
    """
    exported(dataset, form, tmp_path / form, shard_size=3)
    told = read(tmp_path / form / "croissant.json")
    names = {one["images/file_name"] for one in told["sets"]["images"]}

    assert {one["rows/file_name"] for one in told["sets"]["rows"]} == names
    assert len(names) == 5


@pytest.mark.parametrize("form", list(EXPORT_FORMATS))
def test_its_hashes_are_those_of_the_files(dataset: Path, tmp_path: Path, form: str) -> None:
    """
    Of every shard; its own bytes are the same each time.
    """
    exported(dataset, form, tmp_path / "a" / form, shard_size=3)
    exported(dataset, form, tmp_path / "b" / form, shard_size=3)
    told = json.loads((tmp_path / "a" / form / "croissant.json").read_text())
    objects = [one for one in told["distribution"] if one["@type"] == "cr:FileObject"]

    assert len(objects) == (6 if form == "webdataset" else 3)
    for one in objects:
        content = (tmp_path / "a" / form / one["contentUrl"]).read_bytes()
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["contentSize"] == f"{len(content)} B"
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_single_file_has_none(dataset: Path, tmp_path: Path) -> None:
    """
    It goes wherever it is sent, alone.
    """
    exported(dataset, "jsonl", tmp_path / "all.jsonl")

    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]
