"""Arbitrary bytes end in rows, in bad rows or in one refusal; never in a crash."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbatch.errors import ManifestError
from fluxbatch.job import job_id
from tests.unit.manifest.reading import URL, opened

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
    )
)


def settles(content: bytes, name: str) -> None:
    """Read to the end; what comes out is consistent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        heard: list[int] = []
        try:
            rows = list(opened(path).rows(lambda bad: heard.append(bad.number)))
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


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m"])
@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=300) | st.lists(PIECES, max_size=30).map(b"".join))
def test_any_bytes_settle(name: str, content: bytes) -> None:
    """Both readers, and the one that is guessed."""
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
