"""Arbitrary bytes end in rows, in bad rows or in one refusal; never in a crash."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbatch.config.sweep import Templates
from fluxbatch.domain.job import job_id
from fluxbatch.errors import ManifestError
from tests.unit.manifest.reading import URL, opened

pytestmark = pytest.mark.proof

NAMES = st.sampled_from(
    [
        "prompt",
        "caption",
        "control_image",
        "image",
        "seed",
        "guidance",
        "num_outputs",
        "id",
        "repeat",
        "priority",
        "meta.a",
        "meta",
        "input",
        "tags",
        "megapixels",
        "_fb_x",
        "junk",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.text(),
    st.just(URL),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner), max_leaves=4
)
ROWS = st.dictionaries(NAMES, VALUES).map(
    lambda row: {"prompt": "a", "control_image": URL, **row} if len(row) % 2 else row
)
PIECES = st.sampled_from(
    (
        *(
            b'"',
            b",",
            b"\n",
            b"\r\n",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"a",
            b"{",
            b"}",
            b":",
            b" ",
        ),
        *(b'{"prompt": "a", "control_image": "https://e.org/a"}', b"prompt,control_image\n", b"7"),
        *(b"- ", b"prompt: a\n", b"  ", b"&a ", b"*a", b"!!int ", b"[", b"]", b"<<: ", b"|\n"),
        *(b"[[rows]]\n", b'prompt = "a"\n', b"=", b"2026-11-20", b"#", b"\t", b"PAR1"),
        *(b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"),
    )
)


def settles(content: bytes, name: str, templates: Templates | None = None) -> None:
    """Read to the end; what comes out is consistent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        settles_at(path, templates)


def settles_at(path: Path, templates: Templates | None = None) -> None:
    heard: list[int] = []
    try:
        manifest = opened(path, templates=templates)
        rows = list(islice(manifest.rows(lambda bad: heard.append(bad.number)), 2000))
    except ManifestError:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert (row.job is None) == (row.error is not None) == (row.number in heard)
        json.dumps([row.user_id, row.meta, row.error], allow_nan=False).encode()
        str(row.error).encode()
        (row.user_id or "").encode()
        if row.job is not None:
            assert row.job.job_id == job_id(row.job.model, row.job.input, row.job.repeat)
            json.dumps(row.job.input, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "name", ["m.csv", "m.tsv", "m.jsonl", "m", "m.yaml", "m.toml", "m.parquet", "m.csv.gz"]
)
@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=300) | st.lists(PIECES, max_size=30).map(b"".join))
def test_any_bytes_settle(name: str, content: bytes) -> None:
    """Every reader, and the one that is guessed."""
    settles(content, name)


@settings(deadline=None, max_examples=300)
@given(st.lists(ROWS, max_size=4))
def test_any_objects_settle(rows: list[dict[str, object]]) -> None:
    """Right names with wrong values."""
    settles(b"\n".join(json.dumps(row).encode() for row in rows), "m.jsonl")


@settings(deadline=None, max_examples=150)
@given(
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.lists(st.lists(st.text(max_size=8) | st.just(URL), max_size=5), max_size=4),
)
def test_any_cells_settle(header: list[str], rows: list[list[str]]) -> None:
    """Right columns with wrong cells."""
    text = "\n".join(",".join(cells) for cells in [header, *rows])
    settles(text.encode(errors="surrogatepass"), "m.csv")


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, max_size=4))
def test_any_objects_settle_as_yaml(rows: list[dict[str, object]]) -> None:
    """What the writer of YAML makes of them."""
    settles(yaml.safe_dump(rows, allow_unicode=True).encode(errors="surrogatepass"), "m.yaml")


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["{}|", "${x}", "{{ seed }}", "{a|b}", "__a__", "{% if id %}x{% endif %}"]),
    st.text("{}|$_%a:=!0 2\\#", max_size=12),
    st.booleans(),
)
def test_any_template_settles(begun: str, rest: str, first: bool) -> None:
    """Both grammars, one after the other."""
    prompt = begun + rest if first else rest + begun
    row = {"prompt": prompt, "control_image": URL, "style": "{x|y}"}
    settles(json.dumps(row).encode(), "m.jsonl", Templates())
    settles(json.dumps(row).encode(), "m.jsonl", Templates(mode="sample", sample=3))


def _packed(name: str) -> bytes:
    rows = b"".join(
        json.dumps({"prompt": f"a {n * n}", "control_image": URL}).encode() + b"\n"
        for n in range(50)
    )
    if name == "m.jsonl.gz":
        return gzip.compress(rows)
    if name == "m.jsonl.zst":
        return bytes(zstd.compress(rows))
    into = io.BytesIO()
    columns = {
        "prompt": [f"a {n * n}" for n in range(50)],
        "control_image": [URL] * 50,
        "seed": list(range(50)),
        "meta": [{"k": [n]} for n in range(50)],
    }
    pq.write_table(pa.table(columns), into, row_group_size=20)
    return into.getvalue()


@pytest.mark.parametrize("name", ["m.jsonl.gz", "m.jsonl.zst", "m.parquet"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_damage_settles(name: str, data: st.DataObject) -> None:
    """A good file with some bytes that are not its own, or cut."""
    content = bytearray(_packed(name))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    settles(bytes(content), name)


ARROW = st.sampled_from(
    [
        pa.int8(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.date32(),
        pa.timestamp("ns"),
        pa.time64("us"),
        pa.duration("s"),
        pa.decimal128(20, 3),
        pa.null(),
        pa.list_(pa.int32()),
        pa.struct([("k", pa.string()), ("t", pa.timestamp("s"))]),
        pa.list_(pa.float32()),
        pa.map_(pa.string(), pa.int32()),
        pa.dictionary(pa.int32(), pa.string()),
        pa.list_(pa.binary()),
        pa.struct([("bytes", pa.binary())]),
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, ARROW, max_size=4), st.integers(0, 3), st.data())
def test_any_arrow_table_settles(
    types: dict[str, pa.DataType], rows: int, data: st.DataObject
) -> None:
    """Every type in every column, with values of it, good columns beside."""
    columns = {"prompt": pa.array(["a"] * rows), "control_image": pa.array([URL] * rows)}
    for name, kind in types.items():
        value = data.draw(_of(kind))
        columns[name] = pa.array([value if data.draw(st.booleans()) else None] * rows, kind)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table(columns), f"{folder}/m.parquet")
        settles_at(Path(folder) / "m.parquet")


def _of(kind: pa.DataType) -> st.SearchStrategy[object]:
    """Values that Arrow takes for the type: none, and one or two of its own."""
    if pa.types.is_floating(kind):
        return st.sampled_from([None, 0.0, 7.5, float("nan"), float("inf"), -1.5])
    samples: list[tuple[object, ...]] = [
        (True, False), (0, 7), ("a", "7", URL, ""), (b"", b"\xff"), ([], [1]), ([b"a"],),
        ({"k": "v"},), ({"bytes": b"x"},), ([("k", 1)], [("k", 1), ("k", 2)]),
    ]  # fmt: skip
    fitting: list[object] = [None]
    for value in (one for values in samples for one in values):
        try:
            pa.array([value], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
        fitting.append(value)
    return st.sampled_from(fitting)


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(
            ["a.png", "a.txt", "a.json", "b.jpg", "b.txt", "b.gif", ".c.png", "d e.webp"]
        ),
        st.binary(max_size=40) | st.just(b'{"prompt": "x", "seed": 7}') | st.just(b"a cat"),
        max_size=6,
    )
)
def test_any_folder_settles(files: dict[str, bytes]) -> None:
    """Broken images, odd texts, none at all."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        settles_at(Path(folder))
