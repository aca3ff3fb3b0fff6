"""Column names: aliases, ids, repeats, priorities and what is passed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.manifest.reading import ROW, URL, bad_rows, inputs, line, read, write


@pytest.mark.parametrize("prompt", ["prompt", "text", "caption", "input.prompt"])
@pytest.mark.parametrize(
    "image", ["control_image", "image", "image_url", "control_image_url", "input.control_image"]
)
def test_inputs_go_by_their_name_or_an_alias(tmp_path: Path, prompt: str, image: str) -> None:
    """As other tools name them; the job is the same."""
    path = write(tmp_path, json.dumps({prompt: "a cat", image: URL}))

    assert inputs(read(path)) == [ROW]


def test_inputs_may_stand_in_an_object_of_their_own(tmp_path: Path) -> None:
    """As in the provider's request; its unknown names are refused too."""
    path = write(
        tmp_path, json.dumps({"input": ROW}) + "\n" + json.dumps({"input": {**ROW, "promt": "x"}})
    )

    assert inputs(read(path)) == [ROW]
    assert [(bad.field, bad.number) for bad in bad_rows(path)] == [("input.promt", 2)]


def test_a_name_and_its_alias_must_agree(tmp_path: Path) -> None:
    """Equal or one of them empty is fine; different values are a bad row."""
    path = write(tmp_path, line(caption="a cat") + line(caption="") + line(caption="a dog"))

    assert len(inputs(read(path))) == 2
    (bad,) = bad_rows(path)
    assert (bad.number, bad.field) == (3, "caption")
    assert "'a dog' here, but 'a cat' in another column for 'prompt'" in bad.reason


def test_ids_are_kept_as_given(tmp_path: Path) -> None:
    """By both names; integers as text; they are no part of the job."""
    rows = read(write(tmp_path, line(id="a b") + line(custom_id="c") + line(id=7) + line(id=None)))

    assert [row.user_id for row in rows] == ["a b", "c", "7", None]
    assert len({row.job.job_id for row in rows if row.job}) == 1


@pytest.mark.parametrize("value", [True, ["a"], 1.5, "x" * 1001])
def test_what_is_no_id_is_refused(tmp_path: Path, value: object) -> None:
    """An id names a row to people."""
    (bad,) = bad_rows(write(tmp_path, line(id=value)))

    assert bad.field == "id"


def test_a_repeated_id_is_a_bad_row_naming_the_first_line(tmp_path: Path) -> None:
    """Results could not be told apart; even if the first row is bad itself."""
    text = line(id="a", seed="x") + "\n" + line(id="b") + line(custom_id="a")
    found = bad_rows(write(tmp_path, text))

    assert [(bad.number, bad.field) for bad in found] == [(1, "seed"), (3, "id")]
    assert found[1].reason == "'a' is already the id of line 1; ids must differ"


def test_repeats_are_jobs_of_their_own_with_one_id(tmp_path: Path) -> None:
    """Each is a row with its own number; the id is checked once a line."""
    rows = read(write(tmp_path, line(id="a", repeat=3) + line(id="b")))

    assert [(row.number, row.line, row.user_id) for row in rows] == [
        (1, 1, "a"),
        (2, 1, "a"),
        (3, 1, "a"),
        (4, 2, "b"),
    ]
    jobs = [row.job for row in rows if row.job]
    assert [job.repeat for job in jobs] == [0, 1, 2, 0]
    assert len({job.job_id for job in jobs}) == 3
    assert jobs[0].job_id == jobs[3].job_id


def test_more_repeats_keep_the_old_jobs(tmp_path: Path) -> None:
    """Raising the number adds, and pays for, only the new ones."""
    few = [row.job.job_id for row in read(write(tmp_path, line(repeat=2))) if row.job]
    more = [row.job.job_id for row in read(write(tmp_path, line(repeat="4"))) if row.job]

    assert more[:2] == few
    assert len(set(more)) == 4


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, 10**9, float(10**300), [1]])
def test_what_is_no_repeat_is_refused(tmp_path: Path, value: object) -> None:
    """A row that would make nothing, or everything, is a mistake."""
    (bad,) = bad_rows(write(tmp_path, line(repeat=value)))

    assert bad.field == "repeat"
    assert "is not an integer from 1 to 100000" in bad.reason


def test_priority_is_an_integer(tmp_path: Path) -> None:
    """Zero where none is given."""
    path = write(tmp_path, line(priority=5) + line(priority="-2") + line() + line(priority="high"))

    assert [row.priority for row in read(path)] == [5, -2, 0, 0]
    assert [bad.field for bad in bad_rows(path)] == ["priority"]


def test_meta_is_passed_on_and_is_no_part_of_the_job(tmp_path: Path) -> None:
    """As columns, as an object, and `tags` and `split` by their own names."""
    row = {"meta.a": 1, "meta": {"b": [1, None]}, "tags": ["x"], "split": "train", "meta.c": ""}
    rows = read(write(tmp_path, line(**row) + line()))

    assert rows[0].meta == {"a": 1, "b": [1, None], "tags": ["x"], "split": "train"}
    assert rows[1].meta == {}
    assert rows[0].job == rows[1].job


def test_meta_in_a_csv_is_text(tmp_path: Path) -> None:
    """Nothing is guessed."""
    (row,) = read(
        write(tmp_path, f"prompt,control_image,meta.n,tags\na cat,{URL},07,a;b\n", "m.csv")
    )

    assert row.meta == {"n": "07", "tags": "a;b"}


def test_meta_must_be_an_object_of_finite_numbers(tmp_path: Path) -> None:
    """What cannot be written as JSON again cannot be kept."""
    text = line(meta="x") + line(meta={"a": 1}).replace('{"a": 1}', '{"a": [1e999]}')

    assert [(bad.number, bad.field) for bad in bad_rows(write(tmp_path, text))] == [
        (1, "meta"),
        (2, "meta.a"),
    ]


def test_reserved_and_unknown_names_are_bad_rows_with_a_hint(tmp_path: Path) -> None:
    """In JSONL each line has names of its own."""
    found = bad_rows(write(tmp_path, line(_fb_x=1) + line(guidence=3) + line(colour="red")))

    assert [bad.field for bad in found] == ["_fb_x", "guidence", "colour"]
    assert "fluxbatch's own" in found[0].reason
    assert found[1].reason == "no such input; did you mean 'guidance'?"
    assert "'meta.colour'" in found[2].reason


def test_new_names_on_every_line_do_not_fill_memory(tmp_path: Path) -> None:
    """Layouts are kept for the names of late, not of ever."""
    text = "".join(line(**{f"meta.k{n}": n}) for n in range(1000))

    assert [row.meta for row in read(write(tmp_path, text))][-1] == {"k999": 999}
