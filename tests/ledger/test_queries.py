"""The reads of recovery and status, and their use of the indexes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.uploads import (
    KnownUpload,
    RecordUpload,
    RememberFiles,
    StoredFileHash,
    find_file,
    find_upload,
)
from fluxbatch.ledger.queries.queue import QUEUE_START, pending_jobs
from fluxbatch.ledger.queries.recovery import (
    dataset_id,
    known_creates,
    live_predictions,
    recent_creates,
    unfinished_outputs,
)
from fluxbatch.ledger.queries.rerolled_jobs import count_rerolls
from fluxbatch.ledger.queries.runs_and_failures import latest_failed
from fluxbatch.ledger.queries.totals import count_jobs, totals, totals_of_run
from tests.ledger.conftest import Connect
from tests.ledger.support import PRICE, URL, Books, at, fetch, make_job, make_row, make_rows

E = PredictionEvent


def test_a_start_finds_every_prediction_that_may_be_alive(database: Database) -> None:
    """
    Submitting, unknown and running ones, oldest first, with what is needed to ask for them.
    """
    books = Books.opened(database, jobs=5)
    books.buy(1)
    unknown = books.buy(2)
    books.move(unknown, E.NO_ANSWER, left=at(8), given_up=at(38))
    books.move(unknown, E.GIVEN_UP)
    running = books.run_one(3)
    books.generate(4)
    books.move(books.buy(5), E.NOT_SENT)

    found = live_predictions(database)

    assert [(one.seq, one.state, one.at_risk) for one in found] == [
        (1, "submitting", False), (unknown, "unknown", True), (running, "running", False),
    ]  # fmt: skip
    first, _, third = found
    assert first.job.job_id == make_job(1).job_id
    assert (first.intended.boot_id, first.seed, first.control_url) == ("boot-1", 99, None)
    assert (third.provider_id, third.key_fingerprint) == (f"provider-{running}", "f1f1f1f1")
    assert (third.account, third.key_label, third.adopted) == ("account-1", "first key", None)


def test_the_window_is_seeded_with_the_creates_that_may_have_left(database: Database) -> None:
    """
    Newest first, of one account, with when each was answered or given up; unsent ones never left.
    """
    books = Books.opened(database, jobs=4)
    books.move(books.buy(1), E.ACCEPTED, provider_id="p", answered=at(20))
    books.move(books.buy(2), E.NOT_SENT)
    books.move(books.buy(3), E.NO_ANSWER, given_up=at(50))
    books.buy(4)

    newest, unanswered, answered = recent_creates(database, "account-1", 10)

    assert (newest.answered, newest.given_up) == (None, None)
    assert (unanswered.answered, unanswered.given_up) == (None, at(50))
    assert (answered.answered, answered.given_up) == (at(20), None)
    assert newest.intended.boot_id == "boot-1"
    assert len(recent_creates(database, "account-1", 2)) == 2
    assert recent_creates(database, "another account", 10) == []


def test_a_moment_of_another_boot_comes_back_without_a_boot(books: Books) -> None:
    """
    So that whoever compares boots goes by UTC.
    """
    prediction = books.buy()
    books.move(prediction, E.NO_ANSWER)
    books.move(prediction, E.FOUND, provider_id="p", answered=at(90, boot="boot-2"))
    (found,) = recent_creates(books.db, "account-1", 1)
    assert found.answered == (datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC), "", 0.0)
    assert found.intended.boot_id == "boot-1"


def test_ids_that_the_ledger_bears_are_told_from_strangers(books: Books) -> None:
    """
    A listing holds other people's predictions too.
    """
    books.run_one()
    assert set(known_creates(books.db, ["provider-1", "stranger"])) == {"provider-1"}


def test_two_ledgers_never_have_one_name(connect: Connect, tmp_path: Path) -> None:
    """
    And one keeps its name when it is opened again.
    """
    other = SqliteDatabase(tmp_path / "other.sqlite")
    assert dataset_id(connect()) == dataset_id(connect())
    assert dataset_id(connect()) != dataset_id(other)


@pytest.mark.parametrize("later_first", [False, True])
def test_a_start_finds_every_output_that_is_paid_and_not_stored(
    books: Books, later_first: bool
) -> None:
    """
    With the same edition it was given at first: it is part of the file's name.
    """
    first = books.buy()
    books.move(first, E.NO_ANSWER)
    books.move(first, E.ABSENT)
    second = books.run_one()
    books.move(first, E.FOUND, provider_id="p-1")
    order = (second, first) if later_first else (first, second)
    moved = [books.move(one, E.SUCCEEDED, urls=(URL, URL)) for one in order]
    books.store(moved[0].outputs[0].output_seq)

    found = unfinished_outputs(books.db)

    left = [(m, o) for m in moved for o in m.outputs][1:]
    assert [(one.seq, one.edition) for one in found] == [(o.output_seq, m.edition) for m, o in left]
    assert [one.number for one in found] == [1, 0, 1]
    assert {one.provider_id for one in found} == {"p-1", f"provider-{second}"}
    assert {one.job_id for one in found} == {make_job(1).job_id}


def test_counts_are_of_the_jobs_this_manifest_names(database: Database) -> None:
    """
    Unknown ones are those that are active without an id; invalid are rows, not jobs.
    """
    books = Books.opened(database, jobs=7)
    rows = [*make_rows(6), make_row(7, None, error="bad"), make_row(8, make_job(1))]
    manifest = books.import_rows("m2", rows)
    books.buy(1)
    books.move(books.buy(2), E.NO_ANSWER)
    books.run_one(3)
    books.store(books.generate(4).outputs[0].output_seq)
    books.move(books.run_one(5), E.CANCELLED)

    counts = count_jobs(database, manifest)

    assert counts.by_state == {"active": 3, "done": 1, "failed": 1, "pending": 1}
    assert counts.of(JobState.GENERATED) == 0
    assert (counts.total, counts.unknown, counts.invalid, counts.unlisted) == (6, 2, 1, 1)
    assert (counts.submitting, counts.in_doubt) == (1, 1)


def test_totals_are_sums_over_rows_of_a_run_or_of_all(database: Database) -> None:
    """
    Settled, estimated, reserved, and what failures have cost.
    """
    books = Books.opened(database, jobs=6)
    books.store(books.generate(1).outputs[0].output_seq)
    books.move(books.run_one(2), E.OVERDUE)
    books.move(books.run_one(3), E.FAILED, failure=FailureClass.FILTERED, cost=Micros(7))
    books.move(books.buy(4), E.NOT_SENT)
    first = books.run.seq
    books.open_run("run-2", manifest_seq=books.import_rows("m2", make_rows(6)))
    books.buy(5)

    mine, all_of_it = totals_of_run(database, first)
    assert all_of_it == totals(database)
    assert (mine.creates, mine.settled, mine.estimated, mine.reserved) == (3, PRICE + 7, PRICE, 0)
    assert (mine.spent, mine.at_risk, mine.on_failures) == (2 * PRICE + 7, PRICE, PRICE + 7)
    assert (mine.images, mine.image_bytes) == (1, 1234)
    assert (all_of_it.creates, all_of_it.reserved, all_of_it.images) == (4, PRICE, 1)
    assert totals_of_run(database, books.run.seq)[0].reserved == PRICE


def test_the_jobs_that_failed_last_are_told_with_their_rows(database: Database) -> None:
    """
    By when they failed, the latest at the end; no more than asked for.
    """
    books = Books.opened(database, jobs=4)
    for job in (3, 1, 2):
        stopped = {"failure": FailureClass.FILTERED, "reason": f"not {job}"}
        books.move(books.run_one(job), E.FAILED, **stopped)

    found = latest_failed(database, books.manifest_seq, 2)

    assert [(one.job, str(one.row), one.failure, one.reason) for one in found] == [
        (make_job(job).job_id.hex(), f"row-{job}", "filtered", f"not {job}") for job in (1, 2)
    ]
    assert latest_failed(database, books.manifest_seq + 1, 2) == []


def test_an_empty_ledger_has_nothing_of_anything(database: Database) -> None:
    """
    Sums over no rows are zero, not null.
    """
    assert totals(database).spent == 0
    assert count_jobs(database, Books(database).import_rows("m", [])).total == 0
    assert live_predictions(database) == []
    assert unfinished_outputs(database) == []


def test_an_upload_is_known_until_it_is_replaced(database: Database) -> None:
    """
    One line for each content, the latest one.
    """
    books = Books(database)
    assert find_upload(database, "ab") is None
    until = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    books.do(RecordUpload(at(1), "ab", "file-1", "https://cdn/1", 10, "image/png", "f1", until))
    assert find_upload(database, "ab") == KnownUpload("https://cdn/1", until)
    books.do(RecordUpload(at(2), "ab", None, "https://cdn/2", 10, "image/png", "f1", None))
    assert find_upload(database, "ab") == KnownUpload("https://cdn/2", None)


def test_a_files_hash_is_kept_with_what_it_was_taken_from(database: Database) -> None:
    """
    The latest look at a path replaces the older one.
    """
    books = Books(database)
    assert find_file(database, "/a") is None
    old = StoredFileHash("/a", 2**40, 1_767_225_600_000_000_000, 2**50, "ab", "image/png")
    new = StoredFileHash("/a", 5, 6, 7, "cd", "image/webp")
    for one in (old, new):
        books.do(RememberFiles((one, StoredFileHash("/b", 1, 2, 3, "ef", "image/png"))))
        assert find_file(database, "/a") == one


@contextmanager
def plans(db: SqliteDatabase) -> Iterator[dict[str, str]]:
    """The query plan of each statement that runs in the block, by its text."""
    texts: list[str] = []
    db._connection.set_trace_callback(texts.append)
    found: dict[str, str] = {}
    yield found
    db._connection.set_trace_callback(None)
    for text in texts:
        lines = db._connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall()
        found[text] = "; ".join(line[3] for line in lines)


@pytest.mark.parametrize(
    ("ask", "indexes"),
    [
        (lambda db: pending_jobs(db, 1, QUEUE_START, 10), ["USING INDEX jobs_pending"] * 2),
        (live_predictions, ["USING INDEX predictions_live"]),
        (unfinished_outputs, ["USING INDEX outputs_wanted"]),
        (count_rerolls, ["SEARCH jobs USING INTEGER PRIMARY KEY"]),
    ],
)
def test_what_is_asked_often_is_answered_without_a_look_at_every_job(
    books: Books, ask: Callable[[Database], object], indexes: list[str]
) -> None:
    """
    A million jobs that are done cost the next start nothing.
    """
    db = SqliteDatabase(books.db.path) if isinstance(books.db, SqliteDatabase) else None
    if db is None:
        _assert_postgres_uses_them(books.db)
        return
    with plans(db) as found:
        ask(db)
    assert len(found) == len(indexes)
    for plan, index in zip(found.values(), indexes, strict=True):
        assert index in plan
        assert "jobs_pending" not in index or "TEMP B-TREE" not in plan, "sorted by the index"
    db.close()


def test_what_is_counted_every_second_is_counted_from_indexes(books: Books) -> None:
    """
    A million jobs are wide rows; their counts read narrow entries, and the unlisted none.
    """
    if not isinstance(books.db, SqliteDatabase):
        pytest.skip("the indexes are the same; only SQLite plans without looking at the data")
    with plans(books.db) as found:
        count_jobs(books.db, 1)
        latest_failed(books.db, 1)
    assert not [plan for plan in found.values() if "SCAN jobs" in plan or "SCAN pred" in plan]


def _assert_postgres_uses_them(db: Database) -> None:
    fetch(db, "SET enable_seqscan = off")
    for table, condition, index in (
        ("jobs", "state = 'pending' AND listed_in = 1", "jobs_pending"),
        ("predictions", "state IN ('submitting', 'unknown', 'running')", "predictions_live"),
        ("outputs", "state = 'wanted'", "outputs_wanted"),
    ):
        ((plan,),) = fetch(db, f"EXPLAIN (FORMAT JSON) SELECT seq FROM {table} WHERE {condition}")
        assert index in json.dumps(plan)


def test_no_step_of_a_job_reads_a_whole_table(books: Books) -> None:
    """
    Every statement of its four transitions finds its rows by a key, however many there are.
    """
    if not isinstance(books.db, SqliteDatabase):
        pytest.skip("SQLite tells it statement by statement; the keys are the same")
    with plans(books.db) as found:
        books.checked = False
        moved = books.generate(1)
        books.store(moved.outputs[0].output_seq)
        books.move(books.run_one(2), E.FAILED)
    scans = {text: plan for text, plan in found.items() if "SCAN" in plan}
    assert scans == {}
