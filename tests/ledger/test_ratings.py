"""Ratings in a file and in PostgreSQL: the same words, the same answers."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.rating_store import ratings_in
from fluxbatch.dataset.ratings import ImageRating, RatingChange, Verdict, rater
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.errors import SinkError

_names = itertools.count()
KEEP, REJECT = RatingChange(Verdict.KEEP), RatingChange(Verdict.REJECT)


@pytest.fixture(params=["a file", "PostgreSQL"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """A dataset that nobody has rated."""
    folder = Folder(tmp_path)
    if request.param == "PostgreSQL":
        url: str = request.getfixturevalue("postgres_url")
        folder = SharedDataset(tmp_path, url, f"rated {next(_names)}")
    with ExitStack() as stack:
        stack.callback(folder.make_ledger().close)
        yield folder


def said(dataset: Folder) -> dict[str, tuple[Verdict | None, int | None, str | None]]:
    return {
        one: (is_.verdict, is_.stars, is_.note) for one, is_ in ratings_in(dataset).read().items()
    }


def test_nobody_has_said_anything_of_a_new_dataset(dataset: Folder) -> None:
    assert ratings_in(dataset).read() == {}
    assert ratings_in(dataset).undo() == []


def test_a_file_whose_first_change_is_not_committed_yet_says_nothing(tmp_path: Path) -> None:
    """
    It is there a moment before its table is.
    """
    folder = Folder(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ratings.sqlite")) as db:
        db.execute("PRAGMA user_version = 0")
        db.execute("CREATE TABLE something_else (a)")
    assert ratings_in(folder).read() == {}
    assert ratings_in(folder).undo() == []


def test_what_is_said_last_holds_and_keeps_what_it_does_not_name(dataset: Folder) -> None:
    ratings = ratings_in(dataset)
    assert ratings.rate(["a", "b", "a"], KEEP, "anna@desk") == 2
    assert ratings.rate(["a"], RatingChange(stars=4, note="good")) == 1
    assert ratings.rate(["a", "b"], KEEP) == 0
    assert ratings.rate(["b"], RatingChange(clears=True, note="")) == 1
    assert said(dataset) == {"a": (Verdict.KEEP, 4, "good"), "b": (None, None, None)}
    a = ratings.read()["a"]
    assert a.who == rater()
    assert a.at.endswith("Z")


def test_an_undo_takes_back_one_change_whole(dataset: Folder) -> None:
    ratings = ratings_in(dataset)
    ratings.rate(["a", "b"], KEEP, "anna@desk")
    ratings.rate(["b", "c"], REJECT, "ben@desk")
    assert sorted(ratings.undo()) == ["b", "c"]
    assert said(dataset) == {"a": (Verdict.KEEP, None, None), "b": (Verdict.KEEP, None, None)}
    assert ratings.read()["b"].who == "anna@desk"
    assert sorted(ratings.undo()) == ["a", "b"]
    assert said(dataset) == {}
    assert ratings.undo() == []


def test_every_change_and_every_undo_is_another_revision(dataset: Folder) -> None:
    ratings = ratings_in(dataset)
    with dataset.reader() as db:
        seen = [ratings.revision(db)]
        ratings.rate(["a"], KEEP)
        seen.append(ratings.revision(db))
        ratings.rate(["b"], REJECT)
        seen.append(ratings.revision(db))
        ratings.undo()
        seen.append(ratings.revision(db))
        assert ratings.revision(db) == seen[-1]
    assert len(set(seen)) == len(seen)


def test_odd_words_come_back_as_text(dataset: Folder) -> None:
    note = 'it\'s "odd": %s :x \\ \n ü 🙂'
    ratings_in(dataset).rate(["a"], RatingChange(note=note), "o'neill@desk")
    assert ratings_in(dataset).read()["a"] == ImageRating(
        None, None, note, "o'neill@desk", ratings_in(dataset).read()["a"].at
    )


def test_many_who_judge_at_once_lose_nothing(dataset: Folder) -> None:
    """
    Each one's change is one that an undo takes back whole.
    """
    everybody = range(6)

    def judge(person: int) -> int:
        images = [f"{person}-{number}" for number in range(50)]
        return ratings_in(dataset).rate([*images, "all"], KEEP, f"{person}@desk")

    with ThreadPoolExecutor(len(everybody)) as people:
        changed = list(people.map(judge, everybody))
    assert sum(changed) == 50 * len(everybody) + 1
    assert len(said(dataset)) == 50 * len(everybody) + 1
    assert sorted(len(ratings_in(dataset).undo()) for _ in everybody) == sorted(changed)
    assert said(dataset) == {}


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "ratings.sqlite").write_bytes(b"no database, but long enough to be taken for one")
    with pytest.raises(SinkError, match=r"ratings\.sqlite"):
        ratings_in(Folder(tmp_path)).read()
