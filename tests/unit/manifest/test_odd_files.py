"""Tables as spreadsheets, old machines and data sets leave them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.control_images.resolve import ControlImages, MemoryFileHashes
from fluxbatch.manifest.readers.image_folder import ImageFolderReader
from tests.unit.manifest.reading import ROW, URL, bad_rows, line, opened, read, write

TABLE = f"prompt,control_image\na cat,{URL}\n"


@pytest.mark.parametrize("sign", [",", ";", "|", "\t"])
@pytest.mark.parametrize("first", ["sep={}", "SEP={}", '"sep={}"'])
def test_the_line_of_excel_says_what_parts_the_cells(tmp_path: Path, sign: str, first: str) -> None:
    """And is no row; lines are counted with it."""
    text = first.format(sign) + "\r\n" + TABLE.replace(",", sign).replace("\n", "\r\n")
    (row,) = read(write(tmp_path, text, "m.csv"))
    assert row.job is not None
    assert (row.line, row.job.input["prompt"]) == (3, "a cat")


@pytest.mark.parametrize(("name", "text"), [("m.csv", TABLE), ("m.jsonl", line() * 2)])
def test_a_lone_carriage_return_ends_a_line(tmp_path: Path, name: str, text: str) -> None:
    """Where no newline does."""
    expected = len(read(write(tmp_path, text, name)))
    assert len(read(write(tmp_path, text.replace("\n", "\r"), name))) == expected


def test_a_carriage_return_within_a_line_is_said_in_plain_words(tmp_path: Path) -> None:
    """Of a file with both kinds of line end."""
    (bad,) = bad_rows(write(tmp_path, f"{TABLE}a\rdog,{URL}\n", "m.csv"))
    assert "one line end" in bad.reason


def test_a_nameless_column_is_left_out_where_the_config_says_so(tmp_path: Path) -> None:
    """A data frame's index."""
    path = write(tmp_path, f",prompt,control_image,\n0,a cat,{URL},x\n", "m.csv")
    with pytest.raises(ManifestError, match="column 1 of the manifest has no name"):
        read(path)
    (row,) = read(path, columns={"*": "ignore"})
    assert row.job is not None


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_nested_column_is_left_out_where_the_config_says_so(tmp_path: Path, kind: str) -> None:
    """A dataset's `image` holds the images; only a name in the config asks for it."""
    cells = {**ROW, "image": {"bytes": None, "path": "a.png"}}
    path = write(tmp_path, line(image=cells["image"]))
    if kind == "parquet":
        path = tmp_path / "m.parquet"
        pq.write_table(pa.Table.from_pylist([{**cells, "image": {"bytes": b"x"}}]), path)
    (row,) = read(path, columns={"*": "ignore"})
    assert row.job is not None
    assert row.job.input["control_image"] == URL


@pytest.mark.parametrize("name", ["m.jsonl", "m.json", "m.ndjson"])
def test_one_json_array_is_told_how_to_become_lines(tmp_path: Path, name: str) -> None:
    """Whatever the file is called."""
    path = write(tmp_path, f"[\n  {line()}]", name)
    with pytest.raises(ManifestError, match="jq -c"):
        opened(path)


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "  \t"])
def test_blanks_around_an_address_are_no_part_of_it(tmp_path: Path, blank: str) -> None:
    """The job is the same as without."""
    (with_blank,) = read(write(tmp_path, line(control_image=f"{blank}{URL}{blank}")))
    (without,) = read(write(tmp_path, line()))
    assert with_blank.job is not None
    assert without.job is not None
    assert with_blank.job.job_id == without.job.job_id


@pytest.mark.parametrize("name", ["~x.png", "~", "#1.png", "data:x.png", "file:x.png", "a b?.png"])
def test_a_picture_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    """It was found by listing, so it is no home and no address."""
    name = name if name.endswith(".png") else f"{name}.png"
    picture = Path(__file__).parents[3] / "tests" / "cases" / "folder-tilde-name" / "pictures"
    (tmp_path / name).write_bytes((picture / "~x.png").read_bytes())
    ((_, cells),) = ImageFolderReader(tmp_path).records()
    assert not isinstance(cells, str)
    images = ControlImages(tmp_path, MemoryFileHashes(), allow_http=False)
    _, file = images.resolve(str(cells["control_image"]))
    assert file is not None
    assert Path(file.path) == tmp_path / name


@pytest.mark.parametrize("field", ["prompt", "meta.note", "id"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_nul_is_refused_alike_in_all_formats(tmp_path: Path, field: str, kind: str) -> None:
    """In every text of a row."""
    cells = {**ROW, field: "a\0b"}
    if kind == "jsonl":
        path = write(tmp_path, line(**{field: "a\0b"}))
    elif kind == "csv":
        text = ",".join(cells) + "\n" + ",".join(map(str, cells.values())) + "\n"
        path = write(tmp_path, text, "m.csv")
    else:
        path = tmp_path / "m.parquet"
        pq.write_table(pa.Table.from_pylist([cells]), path)
    (bad,) = bad_rows(path)
    assert "NUL" in bad.reason
