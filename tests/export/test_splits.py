"""The split of a row."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS, ExportRecord
from fluxbatch.export.splits import Split, parse_splits


def record(number: int, **more: object) -> ExportRecord:
    job = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    nested: ExportRecord = {"meta": {}, "axes": {}, "input": {}}
    return {**dict.fromkeys(COLUMNS), **nested, "row": number, "job_id": job, **more}


def split_of(split: Split, given: ExportRecord) -> str:
    return split(*(given[name] for name in split.reads))


def test_shares_are_nearly_kept_and_a_job_never_moves() -> None:
    """
    The job alone decides: not the rows beside it, not its number, not its images.
    """
    split = parse_splits(["train=80%", "dev=0.15", "test=5%"])
    counts = Counter(split_of(split, record(n)) for n in range(10_000))

    assert counts["train"] == pytest.approx(8_000, abs=150)
    assert counts["dev"] == pytest.approx(1_500, abs=150)
    assert counts["test"] == pytest.approx(500, abs=100)
    assert all(
        split_of(split, record(n)) == split_of(split, record(n, row=n + 7, output_index=3))
        for n in range(100)
    )
    assert split_of(split, record(1, job_id=None)) == "train"
    assert split_of(split, record(1, job_id="f" * 32)) == "test"


def test_a_column_gives_the_split_and_train_is_the_default() -> None:
    """
    The manifest's `split` unless another is named.
    """
    assert split_of(parse_splits([]), record(1)) == "train"
    assert split_of(parse_splits([]), record(1, meta={"split": "holdout"})) == "holdout"
    assert split_of(parse_splits(["meta.fold"]), record(1, meta={"fold": "b", "split": "x"})) == "b"
    assert split_of(parse_splits(["status"]), record(1, status="done")) == "done"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["train=0.9"], "make up 0.9"),
        (["train=0.9", "test=0.2"], "make up 1.1"),
        (["train=1", "train=0"], "each name once"),
        (["../up=1"], "letters, digits"),
        (["train=much"], "is no share"),
        (["train=nan"], "is no share"),
        (["train=-1", "test=2"], "is no share"),
        (["nothing"], "nor a column"),
        (["meta"], "nor a column"),
        (["train=0.5", "meta.x"], "NAME=SHARE"),
    ],
)
def test_what_is_no_split_is_refused(words: list[str], reason: str) -> None:
    """
    Before anything is read or written.
    """
    with pytest.raises(ConfigError, match=reason):
        parse_splits(words)


def test_a_value_that_is_no_name_is_told_with_its_row() -> None:
    """
    A split is part of a path; a column of thousands of values is hardly one of splits.
    """
    with pytest.raises(ConfigError, match=r"row 7, 'split': '\.\./x' is no name"):
        split_of(parse_splits([]), record(7, meta={"split": "../x"}))
    split = parse_splits(["meta.tag"])
    with pytest.raises(ConfigError, match="at most 100"):
        [split_of(split, record(number, meta={"tag": f"t{number}"})) for number in range(200)]
