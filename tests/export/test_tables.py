"""The rows of a dataset for programs: typed records and tables, chosen by a filter."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars
import pyarrow.parquet as pq
import pytest

from fluxbatch import Dataset
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import RatingChange, RatingFile, Verdict
from fluxbatch.export.columns import EXPORT_COLUMNS
from fluxbatch.export.filter import BadFilter
from tests.export.made import exported, made_dataset, row

_WITHOUT = """
import sys
sys.modules[sys.argv[2]] = None
import fluxbatch
getattr(fluxbatch.Dataset(sys.argv[1]), sys.argv[3])()
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two images of one row, one of another, a failure, a row that is none, one that waits."""
    pair = row(1, "pair", num_outputs=2, meta={"shop": "oslo"})
    single = row(2, "single", axes={"guidance": 3.5})
    failed, invalid, waits = row(3, "bad"), row(4, "none", error="no prompt"), row(5, "later")
    with made_dataset(tmp_path / "d", [pair, single, failed, invalid, waits]) as maker:
        maker.done(pair)
        maker.done(single)
        maker.failed(failed, "nothing of <that> kind")
    return Dataset(tmp_path / "d")


def rate(dataset: Dataset, sha256: str) -> None:
    change = RatingChange(Verdict.KEEP, stars=4, note="the best")
    RatingFile(Folder(dataset.path)).rate([sha256], change, "anna@desk")


def test_rows_are_those_that_fit_with_the_images_that_fit(dataset: Dataset) -> None:
    """
    As `export --where` chooses: by status, by what was given, by one image of a row.
    """
    second = next(dataset.results()).images[1]

    assert [one.id for one in dataset.rows()] == ["pair", "single", "bad", "none", "later"]
    assert [one.id for one in dataset.rows("status=done")] == ["pair", "single"]
    assert [one.id for one in dataset.rows("axes.guidance>3")] == ["single"]
    (bad,) = dataset.rows("failure=filtered and reason~THAT")
    (pair,) = dataset.rows(f"sha256={second.sha256}")
    assert (bad.id, bad.images) == ("bad", ())
    assert (pair.images, pair.meta) == ((second,), {"shop": "oslo"})
    assert [len(one.images) for one in dataset.rows("id=pair")] == [2]


def test_a_rating_chooses_rows_and_comes_with_its_image(dataset: Dataset) -> None:
    """
    Of the row's two images only the one that was kept.
    """
    _, second = next(dataset.results()).images
    rate(dataset, second.sha256)

    (kept,) = dataset.rows("rating=keep and stars>=4")

    assert [image.sha256 for image in kept.images] == [second.sha256]
    said = kept.images[0].rating
    assert (said.verdict, said.stars, said.note, said.who) == ("keep", 4, "the best", "anna@desk")
    assert [image.rating.verdict for image in next(dataset.results()).images] == [None, "keep"]


def test_a_filter_that_cannot_be_understood_is_refused_when_it_is_given(dataset: Dataset) -> None:
    """
    Not when the first row is asked for.
    """
    with pytest.raises(BadFilter, match="did you mean 'status'"):
        dataset.rows("statsu=done")
    with pytest.raises(BadFilter):
        dataset.to_arrow("rating=")


def test_a_table_has_a_line_for_each_image_and_each_row_without_one(dataset: Dataset) -> None:
    """
    Money is decimal dollars, a rating stands beside its image, what is nested is JSON.
    """
    images = [image for one in dataset.results() for image in one.images]
    rate(dataset, images[1].sha256)

    frame = dataset.to_polars()

    assert frame["id"].to_list() == ["pair", "pair", "single", "bad", "none", "later"]
    assert frame["rating"].to_list() == [None, "keep", None, None, None, None]
    assert frame["stars"].to_list()[1] == 4
    assert frame["sha256"].to_list()[:3] == [image.sha256 for image in images]
    assert frame["status"].to_list()[2:] == ["done", "failed", "invalid", "pending"]
    assert frame["cost_usd"].to_list()[2] == next(dataset.rows("id=single")).cost_usd
    assert frame.schema["cost_usd"] == polars.Decimal(12, 6)
    assert json.loads(frame["axes"].to_list()[2]) == {"guidance": 3.5}
    assert frame["generated_at"].to_list()[0].tzinfo is not None


def test_a_table_has_what_an_export_has(dataset: Dataset, tmp_path: Path) -> None:
    """
    The same columns, types and values as a parquet file, but for what only an export gives.
    """
    file = exported(dataset.path, "parquet", tmp_path / "all.parquet", include_failed=True).path
    whole = pq.read_table(file).drop(list(EXPORT_COLUMNS))

    table = dataset.to_arrow("not status=pending").drop(["rating", "stars", "rating_note"])

    assert table.schema.equals(whole.schema)
    assert table.to_pylist() == whole.to_pylist()


def test_nothing_that_fits_is_an_empty_table_with_its_columns(dataset: Dataset) -> None:
    table = dataset.to_arrow("id=nobody")

    assert (table.num_rows, table.num_columns) == (0, dataset.to_arrow().num_columns)
    assert dataset.to_polars("id=nobody").is_empty()


def test_more_rows_than_a_batch_are_all_there(tmp_path: Path) -> None:
    """
    And the sum of a column is exact.
    """
    rows = [row(number, f"r{number}") for number in range(1, 10_102)]
    with made_dataset(tmp_path / "d", rows) as maker:
        maker.done(rows[-1])
    frame = Dataset(tmp_path / "d").to_polars()

    assert frame["id"].to_list() == [f"r{number}" for number in range(1, 10_102)]
    assert frame["cost_usd"].sum() == Decimal("0.025")


@pytest.mark.parametrize(("missing", "method"), [("pyarrow", "to_arrow"), ("polars", "to_polars")])
def test_a_missing_library_of_tables_is_named(dataset: Dataset, missing: str, method: str) -> None:
    """
    With the extra that brings it.
    """
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT, dataset.path, missing, method],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert f"a table needs {missing}: pip install 'fluxbatch-engine[tables]'" in ended.stderr
