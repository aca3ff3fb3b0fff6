"""Values that break careless writers, unchanged through every format."""

from __future__ import annotations

import csv
import json
import tarfile
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import Row
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS, sample_page
from fluxbatch.export.formats.base import Spool, Stem
from fluxbatch.export.output_dir import ExportFailed
from fluxbatch.ledger.queries.results import result_pages
from tests.export.consumers import asked, consumed
from tests.export.made import control_file, exported, files_of, made_dataset, row

pytestmark = pytest.mark.proof

PROMPTS = {
    "plain": "a lamp",
    "../../etc/passwd": "päivää \U0001f3ee 灯台 \u202egnp.exe",
    "dots.in.it.tar": "two\nlines\r\nand a \t tab",
    "a/b": '"quoted", with a comma',
    "a.b": "'single' and `ticks` and \\ back",
    "A/B": "=cmd|' /C calc'!A0",
    "con": "@SUM(1+1)",
    "=1+1": "'already marked",
    ".hidden": "ten " * 2_560,
    "__special__": "line\u2028and\u2029separators\x85here",
    "x" * 900: "-2+3",
    "🗼": "nul \0 within",
    "a_1": "one of a pair",
    "a": "the other, with four images",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A dataset and what is in it."""

    root: Path
    rows: list[Row]

    @property
    def prompts(self) -> list[Any]:
        """By the order of samples."""
        return [r.job and r.job.input["prompt"] for r in self.rows for _ in range(_images(r))]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """Also: a job of two rows, one with two editions, repeats under one id, failed, invalid."""
    place = tmp_path_factory.mktemp("hostile")
    meta = {"deep": {"x": [1, {"y": None}], "": "empty name"}, "ÿ": "é", "n": 0.1}
    control = control_file(place / "lamp (1).png")
    rows = []
    for number, (name, prompt) in enumerate(PROMPTS.items(), 1):
        given = {"prompt": prompt, **({"num_outputs": 4} if name == "a" else {})}
        rows.append(row(number, name, meta=meta, control=control, **given))
    rows.append(row(20, "shares a job", job=rows[0].job))
    rows.append(row(21, None, prompt="no id"))
    rows += [row(22 + n, "repeated", prompt="again", guidance=n) for n in range(3)]
    with made_dataset(place / "data; rm -rf", _all(rows)) as maker:
        for one in rows:
            if one.user_id != "shares a job":
                maker.done(one)
        maker.again(rows[1])
        maker.done(rows[1], "webp")
        maker.failed(_FAILED, reason='said "no"\nand ended')
    return Hostile(place / "data; rm -rf", rows)


_FAILED = row(30, "failed/one", prompt="=failed()")
_INVALID = row(31, None, error="row 31 (line 32), prompt: '' is empty")
_PENDING = row(32, "pending", prompt="later")


def _all(rows: list[Row]) -> list[Row]:
    return [*rows, _FAILED, _INVALID, _PENDING]


def _images(of: Row) -> int:
    return {"a": 4, "../../etc/passwd": 2}.get(of.user_id or "", 1)


def test_keys_are_safe_unique_and_without_dots(hostile: Hostile, tmp_path: Path) -> None:
    """
    Also where case is ignored; the id as it was given stands beside.
    """
    path = exported(hostile.root, "jsonl", tmp_path / "all.jsonl").path
    records = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    keys = [record["key"] for record in records]

    assert len({key.casefold() for key in keys}) == len(keys) == len(hostile.prompts)
    assert all(key.replace("-", "").replace("_", "").isalnum() for key in keys)
    assert all(key.isascii() and len(key) < 120 for key in keys)
    assert [r["id"] for r in records if r["row"] <= 3] == [*list(PROMPTS)[:2], *list(PROMPTS)[1:3]]
    assert "plain_0" in keys
    assert {"repeated_0", "repeated-23_0", "repeated-24_0"} <= set(keys)
    assert [key for key in keys if key.startswith("a_")] == ["a_1_0", "a_0", "a_1", "a_2", "a_3"]


def test_jsonl_keeps_each_text_on_one_line(hostile: Hostile, tmp_path: Path) -> None:
    """
    Whatever a reader takes for the end of a line.
    """
    path = exported(hostile.root, "jsonl", tmp_path / "a.jsonl", include_failed=True).path
    records = [json.loads(line) for line in path.read_text().splitlines()]

    assert [r["prompt"] for r in records] == [*hostile.prompts, "=failed()", None]
    assert all(list(record) == list(COLUMNS) for record in records)
    assert records[0]["meta"] == {
        "deep": {"x": [1, {"y": None}], "": "empty name"},
        "ÿ": "é",
        "n": 0.1,
    }
    assert [r["status"] for r in records[-2:]] == ["failed", "invalid"]
    assert records[-2]["error_message"] == 'said "no"\nand ended'
    assert [r["edition"] for r in records if r["row"] == 2] == [0, 1]
    assert {r["sha256"] for r in records if r["row"] == 1} == {
        r["sha256"] for r in records if r["row"] == 20
    }


def test_csv_starts_no_formula_and_can_be_taken_back(hostile: Hostile, tmp_path: Path) -> None:
    """
    In Python's reader and in duckdb's; without the mark each text is the original.
    """
    path = exported(hostile.root, "csv", tmp_path / "a.csv", include_failed=True).path
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    loaded = asked(
        f"SELECT prompt FROM read_csv_auto('{path}', header = true, all_varchar = true,"
        " quote = '\"', escape = '\"', max_line_size = 1000000)"
    )
    expected = [*hostile.prompts, "=failed()", ""]

    for record in records:
        assert not any((cell or "").startswith(("=", "+", "-", "@")) for cell in record.values())
    plain = [p.replace("\0", "\ufffd") for p in expected]
    assert [_unmarked(record["prompt"]) for record in records] == plain
    assert [_unmarked(text or "") for (text,) in loaded] == plain
    assert records[-1]["prompt"] == ""


def _unmarked(text: str) -> str:
    return text.removeprefix("'")


def test_what_is_absent_is_not_what_is_empty(tmp_path: Path) -> None:
    """
    Null in JSON and parquet; in CSV an empty cell against `""`.
    """
    rows = [row(1, None, prompt="x"), row(2, "", prompt="y")]
    with made_dataset(tmp_path / "d", rows) as maker:
        for one in rows:
            maker.done(one)
    lines = exported(tmp_path / "d", "jsonl", tmp_path / "a.jsonl").path.read_text().splitlines()
    cells = exported(tmp_path / "d", "csv", tmp_path / "a.csv").path.read_text().splitlines()
    table = pq.read_table(exported(tmp_path / "d", "parquet", tmp_path / "a.parquet").path)

    assert [json.loads(line)["id"] for line in lines] == [None, ""]
    assert [line.split(",")[3] for line in cells[1:]] == ["", '""']
    assert table["id"].to_pylist() == [None, ""]


def test_parquet_and_imagefolder_keep_every_value(hostile: Hostile, tmp_path: Path) -> None:
    """
    `datasets` sees what the manifest said; failed rows lie beside the images.
    """
    exported(hostile.root, "parquet", tmp_path / "p", include_failed=True)
    table = pq.read_table(tmp_path / "p" / "train-000000.parquet").to_pylist()
    exported(hostile.root, "imagefolder", tmp_path / "i", include_failed=True, shard_size=5)
    loaded = consumed("datasets_imagefolder", tmp_path / "i", tmp_path / "cache")["train"]
    failed = (tmp_path / "i" / "failed.jsonl").read_text().splitlines()

    assert [r["prompt"] for r in table] == [*hostile.prompts, "=failed()", None]
    assert json.loads(table[0]["meta"])["deep"] == {"x": [1, {"y": None}], "": "empty name"}
    by_key = {r["key"]: r for r in loaded}
    assert [by_key[r["key"]]["prompt"] for r in table[:-2]] == hostile.prompts
    assert [json.loads(line)["status"] for line in failed] == ["failed", "invalid"]
    assert all(r["image"] for r in loaded)
    assert sum(r["control"] is not None for r in loaded) == sum(
        _images(r) for r in hostile.rows if r.control or r.user_id == "shares a job"
    )


def test_webdataset_has_plain_members_in_the_same_order(hostile: Hostile, tmp_path: Path) -> None:
    """
    Nothing of the machine or the moment, no path that leaves, one sample after the other.
    """
    exported(hostile.root, "webdataset", tmp_path / "w", include_failed=True)
    loaded = consumed("webdataset", tmp_path / "w", tmp_path / "cache")["train"]
    with tarfile.open(tmp_path / "w" / "train-000000.tar") as tar:
        members = tar.getmembers()

    assert [sample["txt"] for sample in loaded] == hostile.prompts
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    assert all("/" not in m.name and m.isfile() for m in members)
    keys = [m.name.partition(".")[0] for m in members]
    assert list(dict.fromkeys(keys)) == [k for n, k in enumerate(keys) if keys[n - 1 : n] != [k]]
    assert {"dots.in.it.tar"} <= {sample["json"]["id"] for sample in loaded}


@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_an_image_that_is_not_what_it_was_ends_the_export(
    hostile: Hostile, tmp_path: Path, form: str
) -> None:
    """
    Naming the file and the remedy; once mended, the export goes on.
    """
    victim = next((hostile.root / "images").iterdir())
    data = victim.read_bytes()
    for broken in (b"", data[:-1] + b"?"):
        victim.write_bytes(broken)
        with pytest.raises(ExportFailed, match="fluxbatch repair") as caught:
            exported(hostile.root, form, tmp_path / "e")
        assert victim.name in str(caught.value)
    victim.unlink()
    with pytest.raises(ExportFailed, match="No such file"):
        exported(hostile.root, form, tmp_path / "e")
    victim.write_bytes(data)

    assert exported(hostile.root, form, tmp_path / "e").images == len(hostile.prompts)


def test_a_ledger_cannot_point_out_of_its_dataset(tmp_path: Path) -> None:
    """
    Datasets are passed on; whoever makes one must not read the reader's files.
    """
    rows = [row(1)]
    (tmp_path / "secret.png").write_bytes(b"mine")
    with made_dataset(tmp_path / "d", rows) as maker:
        maker.done(rows[0])
        maker.sql("UPDATE outputs SET path = ?", "images/../../secret.png")

    with pytest.raises(
        ExportFailed, match="is refused: the ledger names it, and it is not in images/"
    ):
        exported(tmp_path / "d", "webdataset", tmp_path / "w")


def test_a_control_image_that_changed_is_left_out_and_counted(tmp_path: Path) -> None:
    """
    It is the user's own file; the image made from it is still good.
    """
    control = control_file(tmp_path / "lamp.png")
    rows = [row(1, control=control), row(2, control=control), row(3)]
    with made_dataset(tmp_path / "d", rows) as maker:
        for one in rows:
            maker.done(one)
    (tmp_path / "lamp.png").write_bytes(b"another")
    done = exported(tmp_path / "d", "webdataset", tmp_path / "w")
    with tarfile.open(tmp_path / "w" / "train-000000.tar") as tar:
        names = tar.getnames()

    assert (done.images, done.controls_missing) == (3, 2)
    assert not any("control" in name for name in names)


def test_nothing_to_export_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    """
    And writes no file.
    """
    rows = [row(1), row(2)]
    with made_dataset(tmp_path / "d", rows) as maker:
        maker.failed(rows[0])

    with pytest.raises(ConfigError, match=r"1 failed rows .* and 1 rows that have no end"):
        exported(tmp_path / "d", "csv", tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="no row matches"):
        exported(tmp_path / "d", "parquet", tmp_path / "x", where="status=done")
    with pytest.raises(ConfigError, match="nothing is to be exported"):
        exported(tmp_path / "d", "imagefolder", tmp_path / "y", include_failed=True)
    assert not (tmp_path / "x.csv").exists()
    assert _of_ours_only(files_of(tmp_path / "y"))


def _of_ours_only(files: Mapping[str, bytes]) -> bool:
    return all(name.startswith(".fluxbatch/") for name in files)


def test_a_million_records_are_never_held(tmp_path: Path) -> None:
    """
    A shard of any size grows on the disk: what is in memory is one page.
    """
    with made_dataset(tmp_path / "d", [row(1, prompt="long " * 2_000)]) as maker:
        maker.done(row(1, prompt="long " * 2_000))
    with Folder(tmp_path / "d").reader() as db:
        page = sample_page(next(result_pages(db, 1)))
    spool = Spool(tmp_path / "a.spool", Stem("train", 0), "x")
    tracemalloc.start()
    for _ in range(2_000):
        spool.add(page)
    assert sum(1 for _ in spool.sealed().read()) == 2_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spool.close()

    assert peak < 2_000_000
