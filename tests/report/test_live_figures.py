"""The figures of the live page: what they say of a run at work, of killed ones and of failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fluxbatch.cli.render.live_figures import LiveFigures
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.control import RecordChange
from tests.ledger.support import BUYER, Books, E

JOBS = 4


class AtWork(Folder):
    """A dataset that a run has."""

    def is_locked(self) -> bool:
        return True


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with closing(SqliteDatabase(tmp_path / "ledger.sqlite")) as db:
        yield Books.opened(db, jobs=JOBS)


def change(books: Books, words: str, reason: str = "") -> None:
    books.do(RecordChange(books.now(), books.run.seq, words, reason))


def test_a_paused_run_says_so_with_its_reason_and_the_limits_that_hold(
    books: Books, tmp_path: Path
) -> None:
    """
    Since when, what makes it go on, and no time left that nobody knows.
    """
    books.run_one()
    change(books, "limits.slots 1")
    change(books, f"lane {BUYER.key_label} off", "card declined")
    change(books, "paused", "lunch")

    told = LiveFigures(AtWork(tmp_path))(books.db)
    figures = dict(told["figures"])

    assert told["live"] == "a run is paused"
    assert figures["Time left"] == "nothing is created while the run is paused"
    assert "paused by fluxbatch ctl since 2026-01-01 00:00 UTC: lunch" in figures["Waits"]
    assert figures["Goes on by"] == f"fluxbatch ctl {tmp_path} resume"
    lane = figures[f"Lane {BUYER.key_label}"]
    assert lane.startswith("1 of 1 slots, ")
    assert "is off by fluxbatch ctl since 2026-01-01 00:00 UTC: card declined" in lane


def test_a_run_that_was_killed_is_told_so(books: Books, tmp_path: Path) -> None:
    """
    As `status` does; one that goes on is not, and one that ended says how and why.
    """
    books.end_run(ExitCode.STOPPED, "the budget has no room")
    books.open_run("run-2")

    killed, ended = map("".join, LiveFigures(Folder(tmp_path))(books.db)["runs"])
    goes_on, _ = map("".join, LiveFigures(AtWork(tmp_path))(books.db)["runs"])

    assert killed.startswith("run-2 ")
    assert killed.endswith("was killed; to be continued")
    assert goes_on.endswith("goes on")
    assert "exit 4" in ended
    assert ended.endswith(": the budget has no room")


@pytest.mark.parametrize(
    ("failure", "command"),
    [
        (FailureClass.FILTERED, "retry {} --kind filtered"),
        (FailureClass.LOST, "reconcile {}"),
    ],
)
def test_failures_have_a_next_step(
    books: Books, tmp_path: Path, failure: FailureClass, command: str
) -> None:
    """
    What the class means, and the command; while a run is at work, that it comes later.
    """
    event = E.GONE if failure is FailureClass.LOST else E.FAILED
    books.move(books.run_one(), event, failure=failure, reason="gone for good")

    reason, step = map("".join, LiveFigures(Folder(tmp_path))(books.db)["failures"])
    _, later = map("".join, LiveFigures(AtWork(tmp_path))(books.db)["failures"])

    assert reason == f"1 {failure}: gone for good (row-1)"
    assert step.startswith(f"{failure} means: ")
    assert f"Next: fluxbatch {command.format(tmp_path)} (" in step
    assert "Next, once the run has ended: " in later
