"""One script of operations leaves the same rows in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fluxbatch.domain.job import ControlFile, FailureClass
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.schema import metadata
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.model_descriptions import KeepModel, KeptModel
from fluxbatch.ledger.operations.rerolls import AddRerolls, RerollPick
from fluxbatch.ledger.operations.resemblance import CompareImages
from fluxbatch.ledger.operations.retry import RefuseJob, Retry
from fluxbatch.ledger.operations.uploads import (
    ForgetUpload,
    RecordUpload,
    RememberFiles,
    RetireUpload,
    StoredFileHash,
)
from tests.ledger.support import (
    MODEL,
    URL,
    Books,
    all_rows,
    at,
    fetch,
    make_job,
    make_row,
    make_rows,
)

E = PredictionEvent


def play(db: Database) -> None:
    """Something of everything. No row of it is refused: PostgreSQL would leave gaps in `seq`."""
    control = ControlFile("/a/photo.png", "cd" * 32, 2**40, "image/png")
    rows = [
        *make_rows(9),
        make_row(10, make_job(10, outputs=2), control=control, priority=-3, axes={"seed": [1, 2]}),
        make_row(11, None, error="größe: 'x' is no number"),
    ]
    books = Books(db, caps={"run": Micros(10**12), "day": None, "dataset": Micros(10**13)})
    books.do(RememberFiles((StoredFileHash("/a/photo.png", 1, 2**60, 3, "cd" * 32, "image/png"),)))
    books.manifest_seq = books.import_rows("m", rows)
    books.open_run("run-1")
    books.store(books.generate(1).outputs[0].output_seq, dhash=f"00ff00ff00ff00ff-{'80' * 12}")
    books.do(CompareImages())
    books.lose(books.generate(2).outputs[0].output_seq)
    books.move(books.run_one(3), E.FAILED, failure=FailureClass.TIMEOUT, reason="slow", polls=3)
    books.move(books.run_one(3, price=Micros(10**11)), E.OVERDUE, request_id="r-9")
    unknown = books.buy(4)
    books.move(unknown, E.NO_ANSWER, left=at(3), given_up=at(33))
    books.move(unknown, E.GIVEN_UP)
    books.move(books.buy(5), E.REJECTED, reason="nsfw")
    books.do(RefuseJob(at(40), 6, "no image"))
    books.end_run(ExitCode.SOME_FAILED, "4 jobs failed")
    books.open_run("run-2", day="2026-01-02")
    books.do(Retry(at(60)))
    books.buy(5, day="2026-01-02")
    books.move(3, E.COST_LEARNED, cost=Micros(1))
    two = books.run_one(10)
    books.move(two, E.SUCCEEDED, urls=(URL, f"{URL}?token=secret"), run_time_s=9.25)
    books.do(RecordUpload(at(70), "cd" * 32, "f", URL, 2**33, "image/png", "f1", at(99).utc))
    books.do(RecordUpload(at(71), "ef" * 32, "g", f"{URL}2", 2, "image/png", "f1", None))
    books.do(RetireUpload(at(72), "ef" * 32))
    books.do(RecordUpload(at(73), "ab" * 32, "h", f"{URL}3", 2, "image/png", "f1", None))
    books.do(ForgetUpload("ab" * 32, "h"))
    schema = {"properties": {"größe": {"default": "\0"}}}
    books.do(KeepModel(KeptModel("old", "", "", {}, None, at(74).utc)))
    books.do(KeepModel(KeptModel("old", "Älter", "array", schema, Micros(10**11), at(75).utc)))
    books.end_run(ExitCode.TERMINATED, "SIGTERM")
    picks = [RerollPick(make_job(1).job_id, 1, after=n) for n in (0, 1)]
    books.do(AddRerolls(at(76), MODEL, books.manifest_seq, picks))
    books.import_rows("again", rows[:2])
    books.begin_import("m")


@pytest.fixture
def both(
    tmp_path: Path, postgres_url: str, request: pytest.FixtureRequest
) -> Iterator[tuple[Database, Database]]:
    with (
        closing(SqliteDatabase(tmp_path / "ledger.sqlite")) as one,
        closing(PostgresDatabase(postgres_url, request.node.name[:60], create=True)) as other,
    ):
        yield one, other


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: bytes(v) if isinstance(v, memoryview) else v for name, v in row.items()}
        for row in rows
    ]


def test_the_same_script_gives_the_same_rows(both: tuple[Database, Database]) -> None:
    """
    Every column of every table: states as words, ids as bytes, money as whole numbers.
    """
    for db in both:
        play(db)
    one, other = both
    for table in metadata.sorted_tables:
        if table.name != "ledger_version":
            found = plain(all_rows(one, table))
            assert plain(all_rows(other, table)) == found
            assert found or table.name == "lanes", f"the script leaves {table.name} empty"


def test_the_same_script_gives_the_same_views(both: tuple[Database, Database]) -> None:
    """
    Dollars apart, which are exact in one and a float in the other.
    """
    for db in both:
        play(db)
    for view, order in (
        ("results", "manifest, row_number, output_number"),
        ("costs", "run"),
        ("failures", "manifest, row_number"),
    ):
        one, other = (fetch(db, f"SELECT * FROM {view} ORDER BY {order}") for db in both)
        assert len(one) == len(other) > 0
        for left, right in zip(one, other, strict=True):
            assert [_rounded(value) for value in left] == [_rounded(value) for value in right]


def _rounded(value: object) -> object:
    if value is None or isinstance(value, str | int):
        return value
    return round(float(str(value)), 6)
