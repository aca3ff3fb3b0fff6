"""JSONL: every oddity of real files is a row or a bad row with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES
from tests.unit.manifest.reading import ROW, URL, bad_rows, inputs, line, read, write


def only_reason(path: Path) -> str:
    (bad,) = bad_rows(path)
    return bad.reason


def test_rows_are_numbered_and_know_their_line(tmp_path: Path) -> None:
    """Empty lines are skipped and still counted as lines."""
    rows = read(write(tmp_path, line() + "\n  \n\r\n" + line(seed=1)))

    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 5)]


def test_a_byte_order_mark_and_crlf_are_tolerated(tmp_path: Path) -> None:
    """As Windows tools write them."""
    text = "\ufeff" + line().replace("\n", "\r\n") + line(seed=1).replace("\n", "\r\n")

    assert inputs(read(write(tmp_path, text))) == [ROW, {**ROW, "seed": 1}]


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    """Nothing is lost at the end."""
    assert len(read(write(tmp_path, line() + line(seed=1).rstrip("\n")))) == 2


def test_invalid_utf8_is_a_bad_row_and_reading_goes_on(tmp_path: Path) -> None:
    """Latin-1 exports happen; their line is named."""
    broken = line(prompt="caf@").encode().replace(b"@", b"\xe9")
    path = write(tmp_path, line().encode() + broken + line(seed=1).encode())

    assert [row.job is not None for row in read(path)] == [True, False, True]
    (bad,) = bad_rows(path)
    assert (bad.number, bad.line) == (2, 2)
    assert "not valid UTF-8" in bad.reason


def test_truncated_json_is_a_bad_row(tmp_path: Path) -> None:
    """With the column where it ends."""
    assert "not JSON: EOF while parsing" in only_reason(write(tmp_path, '{"prompt": "a'))


def test_nan_and_infinity_are_bad_rows(tmp_path: Path) -> None:
    """JSON has neither, whatever Python's writer says; 1e999 is infinite too."""
    text = line(guidance=float("nan")) + line(guidance=float("inf"))
    text += line(guidance=1).replace(": 1}", ": 1e999}")

    found = bad_rows(write(tmp_path, text))

    assert [bad.number for bad in found] == [1, 2, 3]
    assert found[2].field == "guidance"


def test_nul_bytes_are_bad_rows(tmp_path: Path) -> None:
    """They break every tool after us."""
    assert "not JSON" in only_reason(write(tmp_path, line().replace("cat", "c\0t")))


def test_wrong_types_are_refused_by_field(tmp_path: Path) -> None:
    """Nested values too; the row's other fields are looked at as well."""
    found = bad_rows(write(tmp_path, line(prompt=["a"], seed={"a": 1}, num_outputs="many")))

    assert {bad.field for bad in found} == {"prompt", "seed", "num_outputs"}
    assert all(bad.number == 1 for bad in found)


@pytest.mark.parametrize("text", ["[1]", "7", '"text"', "null", "true"])
def test_a_line_that_is_no_object_is_a_bad_row(tmp_path: Path, text: str) -> None:
    """It says what one looks like."""
    assert "is not a JSON object" in only_reason(write(tmp_path, text + "\n"))


def test_a_name_that_stands_twice_is_a_bad_row(tmp_path: Path) -> None:
    """Parsers keep the last one in silence, and the other was meant too."""
    for spaced in ('"prompt": "a"', '"prompt" : "a"', '"prompt"  :"a"', '"prompt"\t:"a"'):
        text = f'{{{spaced}, "prompt": "b", "control_image": "{URL}"}}\n'
        assert only_reason(write(tmp_path, text)) == "the name 'prompt' stands twice in the object"
    nested = line(meta={"a": 1, "b": 2}).replace('"b"', '"a"')
    assert only_reason(write(tmp_path, nested)) == "the name 'a' stands twice in the object"


def test_a_line_above_16_mib_is_a_bad_row_and_reading_goes_on(tmp_path: Path) -> None:
    """It is never held whole."""
    huge = line(prompt="x" * (MAX_LINE_BYTES + 1))
    path = write(tmp_path, line() + huge + line(seed=1))

    assert [row.job is not None for row in read(path)] == [True, False, True]
    (bad,) = bad_rows(path)
    assert (bad.line, bad.reason) == (2, "the line is longer than 16 MiB")


def test_a_long_line_below_that_is_a_row(tmp_path: Path) -> None:
    """Across many blocks of reading."""
    (row,) = read(write(tmp_path, line(prompt="x" * 3_000_000)))

    assert row.job is not None
    assert len(str(row.job.input["prompt"])) == 3_000_000


def test_deep_nesting_is_a_bad_row(tmp_path: Path) -> None:
    """Not a crash of the parser."""
    assert "nested too deep" in only_reason(write(tmp_path, "[" * 100_000))


def test_half_an_emoji_is_a_bad_row(tmp_path: Path) -> None:
    """No UTF-8 can carry it, so no ledger and no request can."""
    assert "not JSON" in only_reason(write(tmp_path, line().replace("cat", "\\ud83d")))


def test_escaped_texts_are_the_texts(tmp_path: Path) -> None:
    """Python's writer escapes all but ASCII."""
    (row,) = read(write(tmp_path, json.dumps({**ROW, "prompt": "Öl 🎈"})))

    assert row.job is not None
    assert row.job.input["prompt"] == "Öl 🎈"
