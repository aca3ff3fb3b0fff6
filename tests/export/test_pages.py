"""Rows by the page: the same bytes as one by one, and as they were before there were pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.export.columns import results_with_samples, sample_page
from fluxbatch.export.formats.base import LineFormat
from fluxbatch.export.formats.csv import Csv
from fluxbatch.export.formats.jsonl import Jsonl
from fluxbatch.ledger.queries.results import result_pages
from tests.export.made import exported, made_dataset, row

WRITTEN = Path(__file__).parent / "written"
"""What version 0.2.0 wrote of `odd` before its rows were read by the page."""
METAS: list[dict[str, Any]] = [
    {},
    {"n": 1},
    {"n": 1.0},
    {"n": True},
    {"n": 1e-7},
    {"n": 10**25},
    {"half": "\ud83d a pair", "\udc00": ["\ud800"]},
    {"ÿ": "é\u2028", "": None},
    {"l": [1, [], {}]},
]
PROMPTS = [
    "plain",
    "=1+1",
    'a "quote", and\nlines',
    "\u2028 灯台 \0",
    " spaces ",
    "-x",
    "a:b.c/d",
    "€",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Values that are equal and written apart, halves of pairs, rows of several images, of none."""
    root = tmp_path_factory.mktemp("odd") / "d"
    rows = [
        row(
            n,
            [None, f"row-{n}", "", "Same", "same", "ünï"][n % 6],
            prompt=PROMPTS[n % len(PROMPTS)],
            meta=METAS[n % len(METAS)],
            axes=METAS[(n + 3) % len(METAS)],
            which=n,
            **({"num_outputs": 3} if n % 7 == 0 else {}),
            **({"seed": n} if n % 5 == 0 else {}),
        )
        for n in range(1, 42)
    ]
    rows.append(row(42, None, error="row 42, prompt: '' is empty"))
    with made_dataset(root, rows) as maker:
        for n, one in enumerate(rows[:-2]):
            if n % 9 == 4:
                maker.failed(one, reason='said "no"\nand =ended')
            else:
                maker.done(one)
        maker.again(rows[0])
        maker.done(rows[0], "webp")
        maker.sql(  # what depends on how a library encodes images
            "UPDATE outputs SET sha256 = printf('%064d', seq), file_sha256 = NULL, bytes = seq"
        )
        maker.sql("UPDATE outputs SET quality_json = '[]' WHERE seq % 3 = 0")
        maker.sql("""UPDATE outputs SET quality_json = '["flat", "a,b"]' WHERE seq % 7 = 2""")
        maker.sql("UPDATE predictions SET run_time_us = seq * 1234567 WHERE seq % 3 = 0")
        maker.sql("UPDATE predictions SET cost = seq * 1000 + 1, estimated = 1 WHERE seq % 5 = 0")
    return root


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_odd_rows_are_written_as_they_ever_were(form: str, odd: Path, tmp_path: Path) -> None:
    """
    Byte for byte.
    """
    path = exported(odd, form, tmp_path / f"odd.{form}", include_failed=True).path

    assert path.read_bytes() == (WRITTEN / f"odd.{form}").read_bytes()


def test_parquet_has_what_jsonl_has(odd: Path, tmp_path: Path) -> None:
    """
    Every line and every value, what is nested as text.
    """
    table = pq.read_table(
        exported(odd, "parquet", tmp_path / "a.parquet", include_failed=True).path
    )
    lines = (WRITTEN / "odd.jsonl").read_text().split("\n")[:-1]
    for name in (
        "key",
        "prompt",
        "seed",
        "cost_is_estimated",
        "run_seconds",
        "reroll_of",
        "edition",
    ):
        assert table[name].to_pylist() == [json.loads(line)[name] for line in lines]
    for name in ("input", "meta", "axes", "quality"):
        texts = [json.dumps(json.loads(line)[name], sort_keys=True) for line in lines]
        found = [json.dumps(json.loads(text), sort_keys=True) for text in table[name].to_pylist()]
        assert found == texts
    whens = [str(when.isoformat()) for when in table["submitted_at"].to_pylist() if when]
    assert [when[:19] for when in whens] == [
        when[:19] for line in lines if (when := json.loads(line)["submitted_at"])
    ]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that RFC 8785 writes otherwise than Python, and such as it does not."""
    values: list[dict[str, Any]] = [
        {"guidance": 3.5},
        {"guidance": 10.0},
        {"guidance": 1e-7},
        {"guidance": 0.00001},
        {"guidance": 1e21},
        {"seed": 2**53 - 1},
        {"prompt": "close-up, e-1"},
        {"prompt": "灯台"},
        {"prompt": 'a "quote",\n\ttab\x7f \\ /'},
        {"\ue000": 1, "\U0001f5fc": 2},
        {"more": {"b": [1e-9, True], "a": ""}},
    ]
    root = tmp_path_factory.mktemp("inputs") / "d"
    rows = [row(n, f"row-{n}", which=n, **given) for n, given in enumerate(values, 1)]
    with made_dataset(root, rows) as maker:
        for one in rows:
            maker.done(one)
    return root


@pytest.mark.parametrize("form", [Csv(), Jsonl()], ids=["csv", "jsonl"])
def test_an_input_is_written_alike_from_its_text_and_from_its_values(
    form: LineFormat, inputs: Path
) -> None:
    """
    The ledger's text is taken over only where it is what the format itself would write.
    """
    with Folder(inputs).reader() as db:
        pages = [sample_page(page) for page in result_pages(db, 1)]
    by_text = b"".join(map(form.lines, pages))

    assert by_text == b"".join(form.lines(replace(page, texts={})) for page in pages)
    assert sum(text is not None for page in pages for text in page.texts["input"]) == 5


@pytest.mark.parametrize("form", [Csv(), Jsonl()], ids=["csv", "jsonl"])
def test_a_page_is_the_lines_of_its_rows(form: LineFormat, odd: Path) -> None:
    """
    Whatever stands beside a value: 1, 1.0 and true are equal, and each is written as it is.
    """
    with Folder(odd).reader() as db:
        pages = b"".join(form.lines(sample_page(page)) for page in result_pages(db, 1))
        alone = b"".join(
            form.line(sample.record)
            for _, samples in results_with_samples(db, 1)
            for sample in samples
        )

    assert pages == alone
