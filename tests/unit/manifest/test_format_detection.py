"""Every format of a manifest: the same rows, types coerced, nothing lost without a word."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from PIL import Image

from fluxbatch.config.sweep import Sweep
from fluxbatch.errors import ConfigError, ManifestError
from fluxbatch.manifest.readers import compression
from fluxbatch.manifest.readers.remote_file import save_stdin
from fluxbatch.manifest.readers.yaml_toml import is_rows
from tests.unit.manifest.reading import ROW, URL, bad_rows, inputs, line, opened, read, write

CSV = f"prompt,control_image,seed,guidance\na cat,{URL},7,\na dog,{URL},,2.5\n"
EXPECTED = [{**ROW, "seed": 7}, {**ROW, "prompt": "a dog", "guidance": 2.5}]


def parquet(folder: Path, name: str = "m.parquet", **columns: Any) -> Path:
    """A file of one row a value; what is not named is good."""
    rows = len(next(iter(columns.values())))
    whole = {"prompt": ["a cat"] * rows, "control_image": [URL] * rows, **columns}
    pq.write_table(pa.table(whole), folder / name)
    return folder / name


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        read(path, **settings)
    return str(caught.value)


def packed_zstd(content: bytes) -> bytes:
    packed: bytes = zstd.compress(content)
    return packed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", CSV.encode()),
        ("m.tsv", CSV.replace(",", "\t").encode()),
        ("m.csv.gz", gzip.compress(CSV.encode())),
        ("m.csv.zst", packed_zstd(CSV.encode())),
        ("m.tsv.gz", gzip.compress(CSV.replace(",", "\t").encode())),
        ("m.jsonl.zst", packed_zstd((line(seed=7) + line(prompt="a dog", guidance=2.5)).encode())),
        ("packed", gzip.compress(CSV.encode()[:30]) + gzip.compress(CSV.encode()[30:])),
        ("tabs", CSV.replace(",", "\t").encode()),
        ("m.yaml", f"- prompt: a cat\n  control_image: {URL}\n  seed: 7\n- prompt: a dog\n"
         f"  control_image: {URL}\n  guidance: 2.5\n".encode()),
        ("m.toml", f'[[rows]]\nprompt = "a cat"\ncontrol_image = "{URL}"\nseed = 7\n[[rows]]\n'
         f'prompt = "a dog"\ncontrol_image = "{URL}"\nguidance = 2.5\n'.encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)  # fmt: skip
def test_the_same_rows_in_any_format_are_the_same_jobs(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """Empty is absent, text is a number where a number is meant."""
    assert inputs(read(write(tmp_path, content, name))) == EXPECTED


def test_parquet_gives_the_same_jobs_too(tmp_path: Path) -> None:
    """Null is absent, 64-bit integers are integers."""
    path = parquet(
        tmp_path,
        prompt=["a cat", "a dog"],
        seed=pa.array([7, None], pa.int64()),
        guidance=pa.array([None, 2.5], pa.float64()),
    )
    rows = read(path)

    assert inputs(rows) == EXPECTED
    assert [row.line for row in rows] == [1, 2]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    """Where the file's name says another, or nothing."""
    path = write(tmp_path, "prompt\ncontrol_image\n", "m.txt")

    assert "name the format with --format" in refusal(path)
    assert inputs(read(write(tmp_path, line(), "m.data.txt"), kind="jsonl")) == [ROW]
    assert inputs(read(write(tmp_path, CSV, "odd.jsonl"), kind="csv")) == EXPECTED


@pytest.mark.parametrize(
    ("missing", "name", "content", "extra"),
    [
        ("pyarrow", "m.parquet", b"PAR1....", "fluxbatch-engine[parquet]"),
        ("backports", "m.csv.zst", packed_zstd(CSV.encode()), "fluxbatch-engine[zstd]"),
    ],
)
def test_a_format_whose_library_is_not_there_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, name: str, content: bytes,
    extra: str,
) -> None:  # fmt: skip
    """The core stays light."""
    monkeypatch.setitem(sys.modules, missing, None)

    assert extra in refusal(write(tmp_path, content, name))


# --- Packed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [gzip.compress, packed_zstd])
def test_a_packed_file_that_was_cut_is_refused_as_a_whole(tmp_path: Path, pack: Any) -> None:
    """Before the end nothing was spent."""
    content = pack("".join(line(prompt=f"{n * n}") for n in range(5000)).encode())
    for cut in (len(content) // 2, len(content) - 3, 8):
        assert "damaged, or not complete" in refusal(write(tmp_path, content[:cut], "m.jsonl.gz"))


def test_a_bomb_is_stopped_while_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes may not become a gigabyte of lines; a line has its own bound."""
    lines = write(tmp_path, packed_zstd(b"\n" * 200_000_000), "m.jsonl.zst")
    long = write(tmp_path, gzip.compress(b'{"prompt": "' + b"a" * 20_000_000, 1), "n.jsonl.gz")

    assert "longer than 16 MiB" in str(bad_rows(long)[0])
    monkeypatch.setattr(compression, "_ALWAYS_BYTES", 1_000_000)
    assert "when it is unpacked; if that is meant, unpack it first" in refusal(lines)


def test_a_packed_spreadsheet_is_still_one(tmp_path: Path) -> None:
    """What is inside is looked at too."""
    assert "save it as CSV" in refusal(write(tmp_path, gzip.compress(b"PK\x03\x04..."), "m.csv.gz"))
    assert "packed once more" in refusal(write(tmp_path, gzip.compress(b"PAR1..."), "m.gz"))


# --- Parquet ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "given", "reason"),
    [
        ("num_outputs", pa.array([2.5]), "2.5 is not an integer from 1 to 4"),
        ("seed", pa.array([2**60]), "is not an integer"),
        ("seed", pa.array([float("nan")]), "nan is not an integer"),
        ("guidance", pa.array([float("inf")]), "inf is not a number"),
        ("seed", pa.array([True]), "True is not an integer"),
        ("id", pa.array([1.5]), "1.5 is not text or an integer"),
    ],
)
def test_a_value_that_would_lose_something_is_a_bad_row(
    tmp_path: Path, column: str, given: Any, reason: str
) -> None:
    """With row and field; the other rows are read."""
    (bad,) = bad_rows(parquet(tmp_path, **{column: given}))

    assert (bad.line, bad.field) == (1, column)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("column", "given", "said"),
    [
        ("prompt", pa.array([b"a cat"]), "column 'prompt' of the manifest is of type binary"),
        ("prompt", pa.array([dt.datetime(2026, 1, 1)]), "no input is a time"),  # noqa: DTZ001
        ("control_image", pa.array([{"bytes": b"x", "path": "a"}]), "write them to files"),
        ("prompt", pa.array([["a"]]), "an input is a single value"),
        ("meta.x", pa.array([b"x"]), "cast it, or leave it out"),
        ("meta.x", pa.array([[b"x"]]), "cast it, or leave it out"),
    ],
)
def test_a_column_no_row_could_use_is_refused_once(
    tmp_path: Path, column: str, given: Any, said: str
) -> None:
    """Its type says so, before any row."""
    assert said in refusal(parquet(tmp_path, **{column: given}))


@pytest.mark.parametrize(
    ("column", "given", "value"),
    [
        ("guidance", pa.array([7.1], pa.float32()), 7.1),
        ("guidance", pa.array([7.1], pa.float64()), 7.1),
        ("guidance", pa.array([Decimal("7.50")]), 7.5),
        ("guidance", pa.array([10.0]), 10),
        ("seed", pa.array([2**53 - 1], pa.uint64()), 2**53 - 1),
        ("seed", pa.array([3.0]), 3),
        ("prompt", pa.array(["a", "a"]).dictionary_encode().slice(0, 1), "a"),
        ("prompt", pa.array(["a"], pa.large_string()), "a"),
        ("disable_safety_checker", pa.array([True]), True),
    ],
)
def test_arrow_types_become_the_inputs_own(
    tmp_path: Path, column: str, given: Any, value: object
) -> None:
    """Without a digit more or less."""
    (made,) = inputs(read(parquet(tmp_path, **{column: given})))

    assert made[column] == value
    assert type(made[column]) is type(value)


def test_what_is_passed_through_is_kept_as_json_can(tmp_path: Path) -> None:
    """Times and decimals as text, to the last digit; nested data as it is."""
    moment = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    path = parquet(
        tmp_path,
        **{
            "meta.at": moment,
            "meta.price": pa.array([Decimal("0.10")]),
            "meta.big": pa.array([2**62]),
            "meta.list": pa.array([[1, None]]),
            "tags": pa.array([["a", "b"]]),
            "meta": pa.array([{"k": "v"}]),
        },
    )
    (row,) = read(path)

    assert row.meta == {
        "at": "2023-11-14 22:13:20.123456789Z",
        "price": "0.10",
        "big": 2**62,
        "list": [1, None],
        "tags": ["a", "b"],
        "k": "v",
    }


def test_a_parquet_file_that_is_cut_or_odd_is_refused(tmp_path: Path) -> None:
    """By its name, without a traceback."""
    whole = parquet(tmp_path, seed=[1]).read_bytes()

    assert "no Parquet file that can be read" in refusal(write(tmp_path, whole[:-9], "a.parquet"))
    assert "columns that mean nothing" in refusal(parquet(tmp_path, sead=[1]))
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "e.parquet")
    assert "has no rows" in refusal(tmp_path / "e.parquet")


# --- Columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_config_says_what_columns_are_called(tmp_path: Path, kind: str) -> None:
    """One column may give two things; the others are ignored, or kept."""
    columns = {"prompt": "text_en", "control_image": "url", "meta.alt": "text_en", "*": "meta"}
    if kind == "parquet":
        pq.write_table(pa.table({"text_en": ["a cat"], "url": [URL], "w": [640]}),
                       tmp_path / "m.parquet")  # fmt: skip
        path = tmp_path / "m.parquet"
    elif kind == "csv":
        path = write(tmp_path, f"text_en,url,w\na cat,{URL},640\n", "m.csv")
    else:
        path = write(tmp_path, f'{{"text_en": "a cat", "url": "{URL}", "w": 640}}\n')
    (row,) = read(path, columns=columns)

    assert inputs([row]) == [ROW]
    assert row.meta == {"alt": "a cat", "w": "640" if kind == "csv" else 640}
    (row,) = read(path, columns={**columns, "*": "ignore"})
    assert row.meta == {"alt": "a cat"}
    del columns["*"]
    if kind != "jsonl":
        assert "columns that mean nothing" in refusal(path, columns=columns)


def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    """On the left what it is here, on the right what the manifest calls it."""
    path = write(tmp_path, CSV, "m.csv")

    with pytest.raises(ConfigError, match=r"columns\.promt: .*did you mean 'prompt'"):
        opened(path, columns={"promt": "prompt"})
    with pytest.raises(ConfigError, match="neither 'ignore' nor 'meta'"):
        opened(path, columns={"*": "drop"})
    assert "columns.seed: the manifest has no column 'sede'" in refusal(
        path, columns={"seed": "sede"}
    )


# --- YAML and TOML ------------------------------------------------------------------------------


def test_yaml_is_what_it_looks_like(tmp_path: Path) -> None:
    """`no`, times and dates are texts; aliases, merges and blocks work; lines are told."""
    text = (
        f"# rows\n- &base\n  prompt: no\n  control_image: {URL}\n"
        "- <<: *base\n  prompt: 2026-11-20\n  id: 12:30\n"
        "- <<: *base\n  prompt: |\n    two\n    lines\n  seed: 0x10\n  guidance: 1e1\n"
    )
    rows = read(write(tmp_path, text, "m.yaml"))

    assert [row.line for row in rows] == [2, 5, 8]
    assert [given["prompt"] for given in inputs(rows)] == ["no", "2026-11-20", "two\nlines\n"]
    assert rows[1].user_id == "12:30"
    assert inputs(rows)[2] == {**ROW, "prompt": "two\nlines\n", "seed": 16, "guidance": 10}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt: a\n", "is no list; write each row as '- prompt: …'"),
        ("- prompt: a\n  prompt: b\n", "the name 'prompt' stands twice"),
        ("- !!python/object/apply:os.system ['x']\n", "is not YAML"),
        ("- {\n", "is not YAML"),
        ("- [[[" * 3000, "is not YAML"),
        ("", "is empty"),
        ("[]", "has no rows"),
    ],
)
def test_yaml_that_is_no_list_of_rows_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """As a whole."""
    assert said in refusal(write(tmp_path, text, "m.yaml"))


def test_aliases_may_not_multiply_a_row(tmp_path: Path) -> None:
    """A row of a thousand laughs is a bad row, and so is one that holds itself."""
    laughs = "- a0: &a0 [x, x]\n"
    laughs += "".join(f"  a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))
    text = laughs + f"- {{prompt: a, control_image: {URL}}}\n- &self {{meta: *self}}\n- 7\n"
    path = write(tmp_path, text, "m.yaml")

    assert inputs(read(path)) == [{**ROW, "prompt": "a"}]
    assert [bad.reason for bad in bad_rows(path)] == [
        "the row has more than 10,000 values",
        "the row has more than 10,000 values",
        "the row is not a table of columns like 'prompt: …'",
    ]


def test_toml_has_its_rows_under_one_name(tmp_path: Path) -> None:
    """And nothing else; its times are text."""
    path = write(
        tmp_path, f'[[rows]]\nprompt = "a"\ncontrol_image = "{URL}"\nmeta = {{at = 2026-11-20}}\n',
        "m.toml",
    )  # fmt: skip

    assert read(path)[0].meta == {"at": "2026-11-20"}
    assert "write each below its own [[rows]]" in refusal(write(tmp_path, "a = 1\n", "m.toml"))
    assert "is not TOML" in refusal(write(tmp_path, "a = \n", "m.toml"))


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.yaml", "# rows\n---\n- prompt: a\n", True),
        ("a.yaml", "[{prompt: a}]", True),
        ("a.yaml", "model: x\nkeys:\n- a\n", False),
        ("a.toml", '# c\n[[rows]]\nprompt = "a"\n', True),
        ("a.toml", '[[keys]]\nlabel = "a"\n', False),
        ("none.yaml", None, False),
    ],
)
def test_a_list_of_rows_is_told_from_a_config(
    tmp_path: Path, name: str, text: str | None, rows: bool
) -> None:
    """Both may be YAML or TOML."""
    path = tmp_path / name if text is None else write(tmp_path, text, name)

    assert is_rows(path) is rows


# --- Folders, globs, stdin ----------------------------------------------------------------------


def picture(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (8, 8), colour).save(path)


def test_a_folder_of_images_is_a_manifest(tmp_path: Path) -> None:
    """Each image is a row; beside it lie its prompt and its other columns."""
    picture(tmp_path / "b.png", "blue")
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "deep" / "c.webp", "green")
    picture(tmp_path / ".hidden.png")
    write(tmp_path, "\ufeffa cat\n", "a.txt")
    write(tmp_path, '{\n "prompt": "a dog",\n "seed": "7", "meta": {"k": 1}\n}\n', "b.json")
    rows = read(tmp_path, defaults={"prompt": "anything"})

    assert [row.user_id for row in rows] == ["a.jpg", "b.png", "deep/c.webp"]
    assert [given["prompt"] for given in inputs(rows)] == ["a cat", "a dog", "anything"]
    assert (inputs(rows)[1]["seed"], rows[1].meta) == (7, {"k": 1})
    assert len({row.control.sha256 for row in rows if row.control}) == 3


def test_what_is_wrong_in_a_folder_is_a_bad_row(tmp_path: Path) -> None:
    """An image of another kind is not passed over: somebody wants it."""
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    picture(tmp_path / "c.png")
    write(tmp_path, "a cat", "a.txt")
    write(tmp_path, '{"prompt": "a dog"}', "a.json")
    write(tmp_path, "[1]", "b.json")
    write(tmp_path, b"\xff\xfe", "c.txt")
    write(tmp_path, b"GIF89a", "d.gif")
    found = bad_rows(tmp_path, defaults={"prompt": "x"})

    assert [bad.line for bad in found] == [1, 2, 3, 4]
    assert "one thing in its .json and another beside it" in found[0].reason
    assert "is not a JSON object" in found[1].reason
    assert "not UTF-8" in found[2].reason
    assert "'d.gif' is no JPEG, PNG or WebP" in found[3].reason
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is a folder without a JPEG, PNG or WebP image" in refusal(empty)


def test_what_was_made_in_a_folder_is_no_row_of_it(tmp_path: Path) -> None:
    """A dataset within would otherwise grow by itself, run after run, for money."""
    picture(tmp_path / "a.png")
    picture(tmp_path / "made" / "images" / "00" / "b.png")
    sweep = Sweep(axes={"control_image": "**/*.png"})
    before = read(None, defaults={"prompt": "x"}, sweep=sweep, folder=tmp_path)
    write(tmp_path / "made", b"", "ledger.sqlite")

    assert len(before) == 2
    assert [row.user_id for row in read(tmp_path, defaults={"prompt": "x"})] == ["a.png"]
    assert len(read(None, defaults={"prompt": "x"}, sweep=sweep, folder=tmp_path)) == 1


def test_what_lies_beside_an_image_is_part_of_the_manifest(tmp_path: Path) -> None:
    """Another prompt makes another manifest; so does another image."""
    picture(tmp_path / "a.png")
    before = opened(tmp_path).identity
    write(tmp_path, "a cat", "a.txt")
    with_prompt = opened(tmp_path).identity
    picture(tmp_path / "b.png")

    assert len({before, with_prompt, opened(tmp_path).identity}) == 3


def test_a_glob_reads_its_files_as_one(tmp_path: Path) -> None:
    """In the order of their names, whatever their formats; files are of their own folders."""
    for name, colour in (("a", "red"), ("b", "blue")):
        picture(tmp_path / name / "x.png", colour)
    write(tmp_path / "a", '{"prompt": "a", "control_image": "x.png", "id": 1}\n{\n')
    write(tmp_path / "b", "prompt,control_image,id\nb,x.png,1\nb,none.png,2\n", "m.csv")
    pattern = tmp_path / "*" / "m.*"
    rows = read(pattern)
    found = bad_rows(pattern)

    assert [given["prompt"] for given in inputs(rows)] == ["a"]
    assert len({row.control.sha256 for row in rows if row.control}) == 1
    assert [bad.line for bad in found] == [2, 4, 5]
    assert f"(in {str(tmp_path / 'b' / 'm.csv')!r}, line 2)" in found[1].reason
    assert "already the id of line 1" in found[1].reason
    assert f"{found[1].reason}" in str(rows[2].error)
    assert "no file matches" in refusal(tmp_path / "*.csv")


def test_a_glob_that_is_a_files_own_name_is_that_file(tmp_path: Path) -> None:
    """Brackets are allowed in names."""
    assert inputs(read(write(tmp_path, line(), "m[1].jsonl"))) == [ROW]


def test_stdin_becomes_a_file_named_by_its_content(tmp_path: Path) -> None:
    """So that it can be read twice, and is the same manifest again."""
    place = tmp_path / "manifests"
    first = save_stdin(io.BytesIO(CSV.encode()), place)
    again = save_stdin(io.BytesIO(CSV.encode()), place)

    assert first == again
    assert list(place.iterdir()) == [first]
    assert inputs(read(first)) == EXPECTED
    with pytest.raises(ManifestError, match="nothing came from stdin"):
        save_stdin(io.BytesIO(), place)
    assert list(place.iterdir()) == [first]


def test_files_of_rows_from_stdin_begin_where_the_pipe_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the dataset, where the rows are kept."""
    picture(tmp_path / "x.png")
    monkeypatch.chdir(tmp_path)
    path = save_stdin(io.BytesIO(b"prompt,control_image\na,x.png\n"), tmp_path / "d" / "manifests")

    (row,) = read(path)
    assert row.control is not None
    assert row.control.path == str(tmp_path / "x.png")
