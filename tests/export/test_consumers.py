"""A thousand images in every format, loaded by the readers people use."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from fluxbatch.domain.job import Row
from fluxbatch.export.formats import EXPORT_FORMATS
from tests.export.consumers import Rows, asked, consumed, pixels
from tests.export.made import control_file, exported, files_of, made_dataset, row
from tests.support.pictures import picture

pytestmark = pytest.mark.proof

COUNT = 1_000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of images, a split and a nested meta; every tenth row failed."""
    place = tmp_path_factory.mktemp("consumers")
    control = control_file(place / "lamp.png")
    rows = [_row(number, control) for number in range(1, COUNT + COUNT // 9 + 1)]
    with made_dataset(place / "dataset", rows) as maker:
        for one in rows:
            if one.number % 10 == 0:
                maker.failed(one)
            else:
                maker.done(one, "png" if one.number < 600 else "jpg")
    return place / "dataset"


def _row(number: int, control: Any) -> Row:
    meta = {"split": "test" if number % 4 == 0 else "train", "nested": {"n": [number, None]}}
    return row(number, f"row-{number}", meta=meta, control=control, guidance=number / 4)


def _expected() -> list[str]:
    return [f"row-{n}_0" for n in range(1, COUNT + COUNT // 9 + 1) if n % 10]


def _keys(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(row["key"]) for row in rows)


@pytest.mark.parametrize("form", list(EXPORT_FORMATS))
def test_a_second_export_has_the_same_bytes(dataset: Path, tmp_path: Path, form: str) -> None:
    """
    Into another folder, and into the same one, where nothing is written again.
    """
    first = exported(dataset, form, tmp_path / "first" / form, shard_size=300)
    again = exported(dataset, form, tmp_path / "first" / form, shard_size=300)
    before = files_of(tmp_path / "first")
    exported(dataset, form, tmp_path / "second" / form, shard_size=300)

    assert first.rows == first.images == COUNT
    assert first.failed_left_out == COUNT // 9
    assert (first.written, first.kept) == (4, 0)
    assert (again.written, again.kept, again.removed) == (0, 4, 0)
    assert before == files_of(tmp_path / "second")


def test_jsonl_and_csv_in_duckdb(dataset: Path, tmp_path: Path) -> None:
    """
    Every row, with types that duckdb finds by itself.
    """
    lines = exported(dataset, "jsonl", tmp_path / "all.jsonl", include_failed=True)
    table = exported(dataset, "csv", tmp_path / "all.csv", include_failed=True)
    read = {
        "jsonl": f"read_json_auto('{lines.path}')",
        "csv": f"read_csv_auto('{table.path}', header = true)",
    }
    for source in read.values():
        (found,) = asked(
            "SELECT count(*), count(file_name), sum(width), sum(cost_usd::DECIMAL(12, 6)),"
            f" count(*) FILTER (status = 'failed') FROM {source}"
        )
        total = COUNT + COUNT // 9
        assert found[:3] == (total, COUNT, 16 * COUNT)
        assert (str(found[3]), found[4]) == (f"{total * 0.025:.6f}", COUNT // 9)
    (meta,) = asked(f"SELECT meta FROM {read['csv']} WHERE row = 3")
    assert json.loads(meta[0]) == {"split": "train", "nested": {"n": [3, None]}}


def test_parquet_in_pyarrow_and_duckdb(dataset: Path, tmp_path: Path) -> None:
    """
    The types are said, not guessed; embedded images are the very bytes.
    """
    exported(dataset, "parquet", tmp_path / "p", embed_images=True)
    table = pq.read_table(tmp_path / "p" / "train-000000.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    (count,) = asked(f"SELECT count(*) FROM '{tmp_path}/p/*.parquet'")
    first = table.slice(0, 1).to_pylist()[0]

    assert types["cost_usd"] == "decimal128(12, 6)"
    assert types["stored_at"] == "timestamp[us, tz=UTC]"
    assert types["run_seconds"] == "double"
    assert count == (COUNT,)
    assert first["image"]["bytes"] == picture("png", side=16, seed=1)
    assert hashlib.sha256(first["image"]["bytes"]).hexdigest() == first["sha256"]
    assert first["control"]["bytes"] == picture("png", side=16, seed=99)
    assert pq.ParquetFile(tmp_path / "p" / "train-000000.parquet").metadata.num_row_groups == 8


def _assert_all(splits: Mapping[str, Rows]) -> None:
    assert set(splits) == {"train", "test"}
    rows = [*splits["train"], *splits["test"]]
    assert _keys(rows) == sorted(_expected())
    assert all(row["row"] % 4 == 0 for row in splits["test"])
    first = next(row for row in rows if row["row"] == 1)
    assert first["prompt"] == "a lighthouse, 1"
    assert first["image"] == _shown(1)
    assert first["control"] == _shown(99)


def _shown(seed: int) -> str | None:
    return pixels(Image.open(io.BytesIO(picture("png", side=16, seed=seed))))


@pytest.mark.parametrize("reader", ["datasets_imagefolder", "datasets_card"])
def test_imagefolder_in_datasets(dataset: Path, tmp_path: Path, reader: str) -> None:
    """
    By `load_dataset("imagefolder", data_dir=…)`, and by the folder with its card alone.
    """
    exported(dataset, "imagefolder", tmp_path / "folder", shard_size=300)
    splits = consumed(reader, tmp_path / "folder", tmp_path / "cache")

    _assert_all(splits)
    assert "label" not in splits["train"][0]


def test_embedded_parquet_in_datasets(dataset: Path, tmp_path: Path) -> None:
    """
    The columns `image` and `control` come as images.
    """
    exported(dataset, "parquet", tmp_path / "p", embed_images=True)

    _assert_all(consumed("datasets_card", tmp_path / "p", tmp_path / "cache"))


def test_webdataset_in_its_own_reader(dataset: Path, tmp_path: Path) -> None:
    """
    One sample an image, its members together, shards without a gap.
    """
    exported(dataset, "webdataset", tmp_path / "w", shard_size=300)
    splits = consumed("webdataset", tmp_path / "w", tmp_path / "cache")
    samples = [*splits["train"], *splits["test"]]
    first = next(sample for sample in samples if sample["__key__"] == "row-1_0")

    assert sorted(sample["__key__"] for sample in samples) == sorted(_expected())
    assert [s["__key__"] for s in splits["test"]] == [k for k in _expected() if _number(k) % 4 == 0]
    assert (first["txt"], first["json"]["row"]) == ("a lighthouse, 1", 1)
    assert (first["png"], first["control.png"]) == (_shown(1), _shown(99))
    assert {name.name for name in (tmp_path / "w").glob("*.tar")} == {
        f"{split}-{number:06d}.tar" for split, number in _SHARDS
    }


_SHARDS = [("train", 0), ("train", 1), ("train", 2), ("test", 0)]


def _number(key: str) -> int:
    return int(key.removeprefix("row-").removesuffix("_0"))


def test_webdataset_in_datasets(dataset: Path, tmp_path: Path) -> None:
    """
    With the card that keeps the sidecars out of its sight; one kind of image, as it demands.
    """
    exported(dataset, "webdataset", tmp_path / "w", where="format=png")
    splits = consumed("datasets_card", tmp_path / "w", tmp_path / "cache")
    samples = [*splits["train"], *splits["test"]]

    assert len(samples) == len([key for key in _expected() if _number(key) < 600])
    assert {sample["json"]["status"] for sample in samples} == {"done"}
