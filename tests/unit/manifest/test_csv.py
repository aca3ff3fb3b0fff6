"""CSV: every oddity of real files is a row, a bad row with its line, or a header refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES
from tests.unit.manifest.reading import ROW, URL, bad_rows, inputs, read, write

HEADER = "prompt,control_image,seed\n"


def csv(folder: Path, text: str | bytes) -> Path:
    return write(folder, text, "m.csv")


def refusal(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read(path)
    return str(caught.value)


def test_cells_are_read_as_their_types_and_empty_ones_are_absent(tmp_path: Path) -> None:
    """CSV knows text alone."""
    path = csv(tmp_path, HEADER + f"a cat,{URL},7\na cat,{URL},\n")

    assert inputs(read(path)) == [{**ROW, "seed": 7}, ROW]


def test_a_byte_order_mark_and_crlf_are_tolerated(tmp_path: Path) -> None:
    """As Excel writes them."""
    text = "\ufeff" + (HEADER + f"a cat,{URL},7\n").replace("\n", "\r\n")

    assert inputs(read(csv(tmp_path, text))) == [{**ROW, "seed": 7}]


def test_quoted_newlines_belong_to_the_row_that_starts_before_them(tmp_path: Path) -> None:
    """Line numbers are the file's, where the row starts."""
    text = HEADER + f'"a\ncat",{URL},1\n\n"say ""hi"", cat",{URL},2\n'
    rows = read(csv(tmp_path, text))

    assert [row.line for row in rows] == [2, 5]
    assert [given["prompt"] for given in inputs(rows)] == ["a\ncat", 'say "hi", cat']


def test_too_many_and_too_few_cells_are_bad_rows(tmp_path: Path) -> None:
    """An unquoted comma is the usual cause, and said."""
    path = csv(tmp_path, HEADER + f"a, b,{URL},1\na cat,{URL}\na cat,{URL},3\n")
    found = bad_rows(path)

    assert [(bad.number, bad.line) for bad in found] == [(1, 2), (2, 3)]
    assert "4 cells where the header names 3" in found[0].reason
    assert "needs quotes" in found[0].reason
    assert "none for seed" in found[1].reason
    assert len(inputs(read(path))) == 1


def test_invalid_utf8_is_a_bad_row_and_reading_goes_on(tmp_path: Path) -> None:
    """By its line, inside quoted newlines too."""
    text = (HEADER + f'"a\nc@t",{URL},1\na cat,{URL},2\n').encode().replace(b"@", b"\xe9")
    (bad,) = bad_rows(csv(tmp_path, text))

    assert (bad.number, bad.line) == (1, 2)
    assert "not valid UTF-8" in bad.reason
    assert len(inputs(read(csv(tmp_path, text)))) == 1


def test_nul_bytes_are_bad_rows(tmp_path: Path) -> None:
    """They break every tool after us."""
    (bad,) = bad_rows(csv(tmp_path, HEADER + f"a c\0t,{URL},1\na cat,{URL},2\n"))

    assert (bad.line, bad.reason) == (2, "the line has a NUL byte")


def test_a_quote_that_never_closes_is_a_bad_row(tmp_path: Path) -> None:
    """Not a row that swallowed the rest of the file."""
    (bad,) = bad_rows(csv(tmp_path, HEADER + f'"a cat,{URL},1\na dog,{URL},2\n'))

    assert bad.line == 2
    assert "not CSV" in bad.reason


def test_text_after_a_closing_quote_is_a_bad_row(tmp_path: Path) -> None:
    """It would be guessed at otherwise."""
    (bad,) = bad_rows(csv(tmp_path, HEADER + f'"a" cat,{URL},1\na cat,{URL},2\n'))

    assert bad.line == 2


def test_a_line_above_16_mib_is_a_bad_row_and_reading_goes_on(tmp_path: Path) -> None:
    """It is never held whole."""
    huge = "x" * (MAX_LINE_BYTES + 1)
    path = csv(tmp_path, HEADER + f"{huge},{URL},1\na cat,{URL},2\n")
    (bad,) = bad_rows(path)

    assert (bad.line, bad.reason) == (2, "the line is longer than 16 MiB")
    assert len(inputs(read(path))) == 1


def test_a_cell_longer_than_the_stock_limit_is_a_row(tmp_path: Path) -> None:
    """The csv module refuses 131,072 characters unless told."""
    (row,) = inputs(read(csv(tmp_path, HEADER + f"{'x' * 200_000},{URL},1\n")))

    assert len(str(row["prompt"])) == 200_000


def test_wrong_values_name_row_line_field_and_allowed_values(tmp_path: Path) -> None:
    """All bad rows in one pass."""
    path = csv(tmp_path, "prompt,control_image,seed,num_outputs\n" + f"a,{URL},x,9\n,{URL},nan,1\n")

    assert [str(bad) for bad in bad_rows(path)] == [
        "row 1 (line 2), num_outputs: '9' is not an integer from 1 to 4",
        "row 1 (line 2), seed: 'x' is not an integer from -9007199254740991 to 9007199254740991",
        "row 2 (line 3), prompt: is required and not given",
        "row 2 (line 3), seed: 'nan' is not an integer from -9007199254740991 to 9007199254740991",
    ]


def test_duplicate_column_names_are_refused(tmp_path: Path) -> None:
    """One of the two would be lost."""
    assert "two columns of the manifest are named 'prompt'" in refusal(
        csv(tmp_path, f"prompt,prompt,control_image\na,b,{URL}\n")
    )


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    """By its place."""
    assert "column 3 of the manifest has no name" in refusal(
        csv(tmp_path, f"prompt,control_image,\na,{URL},\n")
    )


def test_a_missing_header_is_refused(tmp_path: Path) -> None:
    """The first line is shown, and what a header would name."""
    said = refusal(csv(tmp_path, f"a cat,{URL}\na dog,{URL}\n"))

    assert "the manifest has no header" in said
    assert "'a cat'" in said
    assert "control_image" in said


def test_unknown_columns_are_refused_with_a_hint(tmp_path: Path) -> None:
    """All of them at once, before any row."""
    said = refusal(csv(tmp_path, f"promt,control_image,_fb_x,colour\na,{URL},1,2\n"))

    assert "promt: no such input; did you mean 'prompt'?" in said
    assert "_fb_x: names beginning with '_fb_'" in said
    assert "'meta.colour'" in said


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_recognised_and_refused(tmp_path: Path, mark: str, name: str) -> None:
    """Excel writes semicolons in half of Europe."""
    text = HEADER.replace(",", mark) + mark.join(("a cat", URL, "7"))

    assert f"separated by {name}" in refusal(csv(tmp_path, text))


def test_a_broken_header_ends_the_reading(tmp_path: Path) -> None:
    """Nothing after it could be understood."""
    assert "the header of the manifest" in refusal(csv(tmp_path, b"prompt,\xe9\na,b\n"))


def test_a_header_alone_is_no_manifest(tmp_path: Path) -> None:
    """It names nothing to make."""
    assert "has no rows" in refusal(csv(tmp_path, HEADER))
