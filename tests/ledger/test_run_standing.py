"""The standing of a run as another process reads it, on both databases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fluxbatch.cli.progress.watch import show_run
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.run_standing import RunStanding, run_standing
from fluxbatch.domain.money import Micros
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.operations.control import ChangeCap, RecordChange
from fluxbatch.ledger.queries.live_run import watched_run
from fluxbatch.ledger.queries.totals import count_jobs
from tests.ledger.conftest import Connect
from tests.ledger.support import BUYER, PRICE, Books, E, at, provider_id

JOBS = 6
LANE = BUYER.key_label


@pytest.fixture
def books(connect: Connect) -> Books:
    return Books.opened(connect(), jobs=JOBS)


def change(books: Books, words: str, reason: str = "") -> None:
    books.do(RecordChange(books.now(), books.run.seq, words, reason))


def standing(books: Books, place: Path, *, after_s: float = 0.0) -> RunStanding:
    """As seen so long after the latest change."""
    run = watched_run(books.db)
    assert run is not None
    jobs = count_jobs(books.db, books.manifest_seq)
    return run_standing(books.db, Folder(place), run, jobs, at(books.seconds + after_s).utc)


def test_the_limits_are_those_that_hold_now(books: Books, tmp_path: Path) -> None:
    """
    The settings' until `ctl` has changed them, then the latest.
    """
    books.run_one()
    (before,) = standing(books, tmp_path).lanes
    change(books, "limits.slots 3")
    change(books, "limits.slots 1")
    change(books, "limits.creates 7")
    (after,) = standing(books, tmp_path).lanes

    assert (before.slots, before.creates, before.slots_held) == (10, 100, 1)
    assert (after.slots, after.creates, after.slots_held) == (1, 7, 1)
    assert (before.why, after.why) == ("", "")


def test_a_lane_that_is_off_says_so_with_its_reason(books: Books, tmp_path: Path) -> None:
    """
    By its label, also before its first create; on again, it says nothing.
    """
    change(books, "lane spare off")
    books.run_one()
    change(books, f"lane {LANE} off", "card declined")
    first, spare = standing(books, tmp_path).lanes
    change(books, f"lane {LANE} on")
    again, _ = standing(books, tmp_path).lanes

    assert (first.label, first.health, spare.label) == (LANE, "off", "spare")
    assert first.why.startswith("is off by fluxbatch ctl since 2026-01-01 00:00 UTC: card declined")
    assert "off by fluxbatch ctl" in spare.why
    assert (again.health, again.why) == ("", "")


def test_a_pause_says_since_when_and_why(books: Books, tmp_path: Path) -> None:
    """
    Until it is resumed; nothing of it is left once the run has ended.
    """
    books.run_one()
    change(books, "paused", "lunch")
    paused = standing(books, tmp_path)
    change(books, "resumed")
    resumed = standing(books, tmp_path)
    change(books, "paused")
    books.end_run(ExitCode.STOPPED, "stopped")
    ended = standing(books, tmp_path)

    assert paused.waits == "paused by fluxbatch ctl since 2026-01-01 00:00 UTC: lunch"
    assert (resumed.waits, resumed.paused) == ("", "")
    assert (ended.waits, ended.paused) == ("", "")


def test_a_stop_that_was_asked_for_says_why(books: Books, tmp_path: Path) -> None:
    books.run_one()
    change(books, "stopped", "too dark")

    assert standing(books, tmp_path).waits.endswith(": too dark")


@pytest.mark.parametrize(
    ("event", "health", "said"),
    [
        (E.KEY_REFUSED, "out", f"is out for this run: key {LANE}: no"),
        (E.UNPAID, "waits for balance", "until one of its predictions settles: no"),
        (E.OVER_LIMIT, "", "UTC came to nothing (no)"),
        (E.NOT_SENT, "", "UTC came to nothing (no)"),
        (E.REJECTED, "", ""),
    ],
)
def test_a_lane_whose_last_create_was_refused_says_why(
    books: Books, tmp_path: Path, event: E, health: str, said: str
) -> None:
    """
    Until the next create leaves; an input that is refused is its job's affair.
    """
    books.move(books.buy(), event, reason="no")
    (refused,) = standing(books, tmp_path).lanes
    books.run_one(2)
    (working,) = standing(books, tmp_path).lanes

    assert refused.health == health
    assert said in refused.why
    assert bool(refused.why) == bool(said)
    assert (working.health, working.why) == ("", "")


def test_a_full_window_says_when_the_next_create_leaves(books: Books, tmp_path: Path) -> None:
    """
    Once the first has left it; nothing then.
    """
    change(books, "limits.creates 2")
    for job in (1, 2):
        books.run_one(job)
    full = standing(books, tmp_path, after_s=10)
    over = standing(books, tmp_path, after_s=59)

    assert full.lanes[0].why == "has made 2 creates in 60 s, the next in 47 s"
    assert full.waits == f"lane {LANE} {full.lanes[0].why}"
    assert over.waits == ""


def test_a_lane_full_of_its_own_predictions_needs_no_reason(books: Books, tmp_path: Path) -> None:
    change(books, "limits.creates 1")
    change(books, "limits.slots 1")
    books.run_one()

    assert standing(books, tmp_path, after_s=5).waits == ""


def test_a_budget_without_room_is_named(books: Books, tmp_path: Path) -> None:
    """
    With what one more would take.
    """
    books.run_one()
    cap = Micros(PRICE + 1)
    books.do(ChangeCap(books.now(), books.run.seq, books.run.run_id, cap, "budget", ""))
    full = standing(books, tmp_path)
    cap = Micros(2 * PRICE)
    books.do(ChangeCap(books.now(), books.run.seq, books.run.run_id, cap, "budget", ""))

    assert "the budget of $0.025001 per run has no room for another $0.025" in full.waits
    assert standing(books, tmp_path).waits == ""


def test_where_no_job_waits_nothing_is_held_up(books: Books, tmp_path: Path) -> None:
    """
    What is said of a lane is said for those who ask why nothing leaves.
    """
    change(books, "limits.creates 1")
    for job in range(1, JOBS + 1):
        prediction = books.buy(job)
        books.move(prediction, E.ACCEPTED, provider_id=provider_id(prediction))

    assert standing(books, tmp_path, after_s=1).reasons == ""


def test_another_run_is_not_shown_for_the_one_that_is_named(books: Books, tmp_path: Path) -> None:
    """
    Until it is in the ledger, the dataset's latest is the one before it.
    """
    told = list[RunStatus]()
    screen: Any = SimpleNamespace(show=told.append)
    for named in ("run-2", books.run.run_id, None):
        show_run(screen, Folder(tmp_path), books.db, named=named)
    assert [one.run_id for one in told] == [books.run.run_id] * 2
