"""An older ledger is copied, migrated in one transaction, and loses nothing.

Source: docs/design/protocol.md 7.

`version_1/sqlite.sql` is the dump of a ledger that version 1 of the schema wrote in four real
runs; `version_1/postgresql.sql` is that version's schema for PostgreSQL.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fluxbatch.errors import LedgerError
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.image_location import KeepImagesAt, image_store
from fluxbatch.ledger.operations.model_descriptions import find_model
from fluxbatch.ledger.operations.resemblance import CompareImages
from fluxbatch.ledger.queries.quality_notes import noted_outputs
from fluxbatch.ledger.writer import commit
from tests.ledger.support import Books, all_rows, assert_agrees, fetch

VERSION_1 = Path(__file__).parent / "version_1"
_NEW_COLUMNS = {"manifests": (None,), "outputs": (None,)}
_NEW_TABLES = {"models", "fingerprint_keys", "rerolls"}
_OLD_TABLES = [table for table in schema.metadata.sorted_tables if table.name not in _NEW_TABLES]
_VERSION_4 = """
    DROP TABLE rerolls; DROP TABLE fingerprint_keys;
    DROP INDEX outputs_unseen; DROP INDEX outputs_resembling; DROP INDEX outputs_noted;
    DROP INDEX predictions_adopted;
    ALTER TABLE outputs DROP COLUMN resembles;
    UPDATE ledger_version SET version = 3; PRAGMA user_version = 3;
"""
"""From version 5 back to 3."""
_Old = Callable[[], Database]


def write_version_1(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((VERSION_1 / "sqlite.sql").read_text())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def open_old(request: pytest.FixtureRequest, tmp_path: Path) -> _Old:
    """Opens one ledger that version 1 wrote, as often as it is called."""
    old = write_version_1(tmp_path / "ledger.sqlite")
    if request.param == "sqlite":
        return lambda: SqliteDatabase(old)
    url: str = request.getfixturevalue("postgres_url")
    dataset = f"old {request.node.name[:50]}"
    with psycopg.connect(url, autocommit=True) as connection, closing(sqlite3.connect(old)) as kept:
        schema = sql.Identifier(dataset)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(sql.SQL("SET search_path TO {}").format(schema))
        connection.execute((VERSION_1 / "postgresql.sql").read_bytes())
        for table in _OLD_TABLES:
            for row in kept.execute(f"SELECT * FROM {table.name}"):
                places = sql.SQL(", ").join(sql.Placeholder() * len(row))
                insert = sql.SQL("INSERT INTO {} VALUES ({})")
                connection.execute(insert.format(sql.Identifier(table.name), places), row)
    return lambda: PostgresDatabase(url, dataset, create=True)


def test_a_ledger_of_version_1_is_migrated_and_keeps_every_row(
    open_old: _Old, tmp_path: Path
) -> None:
    """
    All tables as they were but for new columns, which are empty; so is the new table. The books
    agree, the version is told.
    """
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as before:
        old = {
            table.name: [tuple(row) for row in before.execute(f"SELECT * FROM {table.name}")]
            for table in _OLD_TABLES
        }
    assert len(old["jobs"]) == 10

    with closing(open_old()) as db:
        for table in _OLD_TABLES:
            now = sorted(map(repr, fetch(db, f"SELECT * FROM {table.name}")))
            kept = [row + _NEW_COLUMNS.get(table.name, ()) for row in old[table.name]]
            if table.name != "ledger_version":
                assert now == sorted(map(repr, kept))
        assert fetch(db, "SELECT version FROM ledger_version") == [(schema.SCHEMA_VERSION,)]
        assert all_rows(db, schema.models) == []
        assert all_rows(db, schema.fingerprint_keys) == []
        assert all_rows(db, schema.rerolls) == []
        assert db.version == schema.SCHEMA_VERSION
        budgets.audit(db)
        assert_agrees(db)
    with closing(open_old()) as again:
        assert fetch(again, "SELECT COUNT(*) FROM results") == [(29,)]


def test_a_migrated_schema_is_the_schema_of_a_new_ledger(
    open_old: _Old, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """
    Column for column: no statement may meet a ledger that is different for its age.
    """
    with closing(open_old()) as old:
        if old.name == "sqlite":
            fresh: Database = SqliteDatabase(tmp_path / "fresh.sqlite")
        else:
            fresh = PostgresDatabase(request.getfixturevalue("postgres_url"), "as new", create=True)
        with closing(fresh):
            assert _shape(old) == _shape(fresh)
            assert len(_shape(fresh)) > 100


def _shape(db: Database) -> list[tuple[object, ...]]:
    if db.name == "sqlite":
        return sorted(
            (name, *column[1:])
            for (name,) in fetch(
                db, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
            if not str(name).startswith("sqlite_")
            for column in fetch(db, f"PRAGMA table_info({name})")
        )
    return sorted(
        fetch(
            db,
            "SELECT table_name, column_name, data_type, is_nullable, column_default"
            " FROM information_schema.columns WHERE table_schema = current_schema()",
        ),
        key=repr,
    )


def test_the_copy_made_before_is_the_ledger_as_it_was(tmp_path: Path) -> None:
    """
    Also what still stood in the write-ahead log; put back, it is migrated once more.
    """
    path = write_version_1(tmp_path / "ledger.sqlite")
    with closing(sqlite3.connect(path)) as busy:
        busy.execute("PRAGMA journal_mode = WAL")
        busy.execute("UPDATE jobs SET reason = 'written last' WHERE seq = 1")
        busy.commit()
        SqliteDatabase(path).close()

    copy = tmp_path / "ledger.sqlite.v1.bak"
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (1,)
        assert kept.execute("SELECT reason FROM jobs WHERE seq = 1").fetchone() == ("written last",)
        tables_then = kept.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert ("models",) not in tables_then
    copy.replace(path)
    with closing(SqliteDatabase(path)) as db:
        assert fetch(db, "SELECT COUNT(*) FROM jobs") == [(10,)]


def test_a_reader_takes_an_older_ledger_as_it_is(tmp_path: Path) -> None:
    """
    `status` works before the first `run` of the new version, and copies nothing.
    """
    path = write_version_1(tmp_path / "ledger.sqlite")
    with closing(SqliteDatabase(path, read_only=True)) as reader:
        assert reader.version == 1
        assert find_model(reader, "flux-dev-t2i") is None
        assert fetch(reader, "SELECT COUNT(*) FROM jobs") == [(10,)]

    assert list(tmp_path.glob("*.bak*")) == []


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    """
    Here somebody has made a table of the new name; the copy is there, and the version is 1.
    """
    path = write_version_1(tmp_path / "ledger.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE models (mine TEXT)")
    with pytest.raises(LedgerError, match="models already exists"):
        SqliteDatabase(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT version FROM ledger_version").fetchone() == (1,)
    assert [copy.name for copy in tmp_path.glob("*.bak*")] == ["ledger.sqlite.v1.bak"]


def test_two_processes_may_open_an_old_ledger_at_once(open_old: _Old) -> None:
    """
    One migrates, the others find it done.
    """
    barrier, failures = threading.Barrier(4), list[BaseException]()

    def open_it() -> None:
        barrier.wait()
        try:
            open_old().close()
        except BaseException as exc:  # noqa: BLE001  # shown by the assertion below
            failures.append(exc)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with closing(open_old()) as db:
        assert fetch(db, "SELECT version FROM ledger_version") == [(schema.SCHEMA_VERSION,)]


def test_alembic_is_loaded_only_to_migrate(tmp_path: Path) -> None:
    """
    Neither a new ledger nor one of today needs it; an old one does.
    """
    program = (
        "import sys; from pathlib import Path;"
        "from fluxbatch.ledger.db.sqlite import SqliteDatabase as S;"
        "S(Path(sys.argv[1])).close(); S(Path(sys.argv[1])).close();"
        "before = 'alembic' in sys.modules; S(Path(sys.argv[2])).close();"
        "print(before, 'alembic' in sys.modules)"
    )
    old = write_version_1(tmp_path / "old.sqlite")
    words = [sys.executable, "-c", program, str(tmp_path / "new.sqlite"), str(old)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "True"]


def test_the_old_ledger_names_nobody() -> None:
    """
    What is kept for tests has no key and no place of a real machine in it.
    """
    text = (VERSION_1 / "sqlite.sql").read_text()

    assert not re.search(r"/home|/root|/tmp|sk-", text)


def test_a_ledger_of_version_2_learns_where_its_images_are(tmp_path: Path) -> None:
    """
    In its folder, until a run says otherwise; a reader that finds the old one takes it so, too.
    """
    path = tmp_path / "ledger.sqlite"
    SqliteDatabase(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_4)
        connection.execute("ALTER TABLE ledger_version DROP COLUMN image_store")
        connection.execute("UPDATE ledger_version SET version = 2")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()

    with closing(SqliteDatabase(path, read_only=True)) as reader:
        assert image_store(reader) is None
    with closing(SqliteDatabase(path)) as db:
        assert image_store(db) is None
        commit(db, KeepImagesAt("s3://bucket/x"))
        assert image_store(db) == "s3://bucket/x"


def test_a_ledger_of_version_3_has_its_images_compared(tmp_path: Path) -> None:
    """
    A reader of the old one, of the new one and of the compared one find the same near-duplicates.
    """
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteDatabase(path)) as db:
        books = Books.opened(db, jobs=4)
        for job_seq, dhash in enumerate(
            ("00ff" * 4, "00ff" * 4, "ff00" * 4, "00ff" * 3 + "00fe"), 1
        ):
            books.store(books.generate(job_seq).outputs[0].output_seq, dhash=f"{dhash}-{'80' * 12}")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_4)
        connection.commit()

    with closing(SqliteDatabase(path, read_only=True)) as reader:
        before = noted_outputs(reader)
    with closing(SqliteDatabase(path)) as db:
        assert (path.parent / "ledger.sqlite.v3.bak").exists()
        assert noted_outputs(db) == before
        assert commit(db, CompareImages()) == 4
        assert noted_outputs(db) == before
    assert [(one.output_seq, one.twin) for one in before] == [(2, 1), (4, 1)]
