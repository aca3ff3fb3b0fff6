"""The work of a reader on a large ledger, counted in steps of SQLite's machine, not in seconds.

Each of these once read, or put in order, everything there is.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Self, TypeVar

import pytest

from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.queries.quality_notes import noted_outputs
from fluxbatch.ledger.queries.report_gallery import shown_predictions
from fluxbatch.ledger.queries.results import named_jobs, row_results
from fluxbatch.ledger.queries.runs_and_failures import failure_reasons, latest_runs
from fluxbatch.ledger.queries.totals import count_found_by_time, money_lines
from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.live.metrics import LiveMetrics
from tests.ledger.support import Books

T = TypeVar("T")

_JOBS = 20_000
_AT = "'2026-01-01T00:00:00.000000Z'"
_STEPS = 100
"""Between two calls of the counter."""
_MADE = f"""
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_JOBS})
INSERT INTO jobs (seq, id, model, input_json, state, predictions, listed_in, created_at)
    SELECT i, CAST(substr(fingerprint(i), 1, 16) AS BLOB), 'm', '{{"prompt":"x"}}', 'done', 1, 1,
        {_AT} FROM n;
DELETE FROM rows;
INSERT INTO rows (manifest_seq, number, line, user_id, job_seq)
    SELECT 1, seq, seq, 'row-' || seq, seq FROM jobs;
INSERT INTO predictions (seq, job_seq, run_seq, attempt, provider_id, state, account,
        key_fingerprint, key_label, price, reserved, cost, budget_day, boot_id, intended_at)
    SELECT seq, seq, 1, 1, 'p-' || seq, 'succeeded', 'a', 'f', 'l', 25000, 0, 25000,
        '2026-01-01', 'b', {_AT} FROM jobs;
INSERT INTO outputs (seq, job_seq, prediction_seq, number, state, path, sha256, bytes, mime, width,
        height, dhash, quality_json, stored_at, resembles)
    SELECT seq, seq, seq, 0, 'stored', 'images/' || seq || '.jpg', 'ab', 1, 'image/jpeg', 64, 64,
        fingerprint(seq), '[]', {_AT}, 0 FROM jobs;
"""


def _fingerprint(number: int) -> str:
    digits = hashlib.sha256(str(number).encode()).hexdigest()
    return f"{digits[:16]}-{digits[16:40]}"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    """A reader of jobs that are done, each with an image like no other."""
    path = tmp_path_factory.mktemp("large") / "ledger.sqlite"
    with closing(SqliteDatabase(path)) as db:
        Books.opened(db, jobs=1)
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("fingerprint", 1, _fingerprint)
        connection.executescript("DELETE FROM rows; DELETE FROM jobs;" + _MADE)
        connection.commit()
    with closing(SqliteDatabase(path, read_only=True)) as reader:
        yield reader


class Steps:
    """Of SQLite's machine, while the block runs."""

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db
        self.counted = 0

    def __enter__(self) -> Self:
        self._db._connection.set_progress_handler(self._count, _STEPS)
        return self

    def __exit__(self, *_: object) -> None:
        self._db._connection.set_progress_handler(None, 0)

    def _count(self) -> None:
        self.counted += _STEPS


def steps(db: SqliteDatabase, ask: Callable[[], object]) -> int:
    """Until *ask* is answered."""
    with Steps(db) as made:
        ask()
    return made.counted


def test_the_counter_sees_a_query_that_reads_everything(large: SqliteDatabase) -> None:
    assert steps(large, lambda: money_lines(large)) > 5 * _JOBS


def test_images_that_resemble_none_are_not_read_for_their_notes(large: SqliteDatabase) -> None:
    assert steps(large, lambda: noted_outputs(large)) < 1_000
    assert noted_outputs(large) == []


def test_what_is_rare_is_found_without_reading_what_is_not(large: SqliteDatabase) -> None:
    """
    Adopted by its time, and failed.
    """
    assert steps(large, lambda: count_found_by_time(large)) < 1_000
    assert steps(large, lambda: failure_reasons(large, 1)) < 1_000


def test_the_runs_are_told_from_the_money_that_was_read(large: SqliteDatabase) -> None:
    money = money_lines(large)
    assert steps(large, lambda: latest_runs(large, 20, money)) < 1_000
    assert latest_runs(large, 20, money)[0].creates == _JOBS


def test_the_predictions_of_a_run_are_read_once(large: SqliteDatabase) -> None:
    """
    Not put in order again for each page.
    """
    assert steps(large, lambda: list(shown_predictions(large, 1))) < 40 * _JOBS


def test_rows_with_their_jobs_are_read_once(large: SqliteDatabase) -> None:
    assert steps(large, lambda: list(named_jobs(large, 1))) < 25 * _JOBS
    assert steps(large, lambda: list(row_results(large, 1))) < 125 * _JOBS


async def test_a_scrape_reads_the_ledger_only_where_it_has_changed(large: SqliteDatabase) -> None:
    """
    And then narrow entries of indexes: a few steps for each prediction and job.
    """
    metrics = LiveMetrics(LedgerReader(large, called_here), "d")
    with Steps(large) as first:
        text = await metrics.text()
    with Steps(large) as soon:
        await metrics.text()
    metrics._rests_until_s = 0.0
    with Steps(large) as unchanged:
        await metrics.text()

    assert first.counted < 25 * _JOBS
    assert soon.counted == 0
    assert unchanged.counted < 1_000
    assert f'fluxbatch_rows{{dataset="d",state="done"}} {_JOBS}\n' in text
    assert f'fluxbatch_creates_total{{dataset="d",outcome="accepted"}} {_JOBS}\n' in text


async def called_here(call: Callable[[], T], /) -> T:
    return call()
