"""Opening and closing a ledger: versions, disks, the write-ahead log.

Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from fluxbatch.errors import LedgerError
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.network_disk import file_system_of, is_network
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from tests.ledger.conftest import Connect
from tests.ledger.support import Books, all_rows, assert_agrees, fetch

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw shared:2 - proc proc rw
40 22 0:44 / /mnt/team rw shared:9 - nfs4 server:/team rw,vers=4.2
41 40 8:1 / /mnt/team/scratch rw - xfs /dev/sdb1 rw
42 22 0:45 / /mnt/my\040share rw - cifs //nas/share rw
43 22 0:46 / /data rw - ext4 /dev/sdc rw
44 43 0:47 / /data rw - fuse.sshfs me@host: rw
not a line of this file
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me/out", "ext4"),
        ("/mnt/team", "nfs4"),
        ("/mnt/team/out", "nfs4"),
        ("/mnt/teamwork", "ext4"),
        ("/mnt/team/scratch/out", "xfs"),
        ("/mnt/my share/out", "cifs"),
        ("/data/out", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_the_one_of_the_nearest_mount(place: str, kind: str) -> None:
    """
    Whole path components, escapes undone, the later of two mounts on one point.
    """
    assert file_system_of(place, MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "network"), [("ext4", False), ("nfs4", True), ("", False), ("fuse.sshfs", True)]
)
def test_only_network_file_systems_are_refused(kind: str, network: bool) -> None:
    """
    Where nothing is known, nothing is refused.
    """
    assert is_network(kind) is network


def test_a_ledger_is_there_again_when_it_is_opened_again(connect: Connect) -> None:
    """
    Opening is idempotent; a second connection sees what the first has committed.
    """
    books = Books.opened(connect())
    books.buy(1)
    again = connect()
    assert all_rows(again, schema.predictions) == all_rows(books.db, schema.predictions)
    assert_agrees(again)


def test_a_newer_schema_is_refused_with_the_remedy(connect: Connect) -> None:
    """
    An old program must not write into what it does not understand.
    """
    db = connect()
    if db.name == "sqlite":
        fetch(db, "PRAGMA user_version = 99")
    else:
        fetch(db, "UPDATE ledger_version SET version = 99")
    with pytest.raises(LedgerError, match=r"schema 99.*knows 5.*upgrade fluxbatch"):
        connect()


def test_two_processes_may_open_a_new_ledger_at_once(connect: Connect) -> None:
    """
    One of them makes the tables, the other finds them.
    """
    barrier, failures = threading.Barrier(4), list[BaseException]()

    def open_it() -> None:
        barrier.wait()
        try:
            connect()
        except BaseException as exc:  # noqa: BLE001  # shown by the assertion below
            failures.append(exc)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert fetch(connect(), "SELECT COUNT(*) FROM runs") == [(0,)]


def test_every_commit_is_on_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    """
    Write-ahead log, synchronous FULL (2).
    """
    with closing(SqliteDatabase(tmp_path / "ledger.sqlite")) as db:
        assert fetch(db, "PRAGMA journal_mode") == [("wal",)]
        assert fetch(db, "PRAGMA synchronous") == [(2,)]


def test_after_a_checkpoint_the_file_alone_is_complete(tmp_path: Path) -> None:
    """
    People copy `ledger.sqlite` and nothing else.
    """
    db = SqliteDatabase(tmp_path / "ledger.sqlite")
    books = Books.opened(db, jobs=50)
    books.buy(1)
    assert db.checkpoint()
    shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "copy.sqlite")
    with closing(SqliteDatabase(tmp_path / "copy.sqlite")) as copy:
        assert all_rows(copy, schema.jobs) == all_rows(db, schema.jobs)
        assert_agrees(copy)
    db.close()
    assert not (tmp_path / "ledger.sqlite-wal").exists()


def test_a_reader_that_holds_on_keeps_the_checkpoint_from_the_whole_file(tmp_path: Path) -> None:
    """
    It says so, and the ledger goes on working.
    """
    db = SqliteDatabase(tmp_path / "ledger.sqlite")
    books = Books.opened(db)
    with closing(SqliteDatabase(tmp_path / "ledger.sqlite", read_only=True)) as reader:
        fetch(reader, "BEGIN")
        fetch(reader, "SELECT COUNT(*) FROM jobs")
        books.buy(1)
        assert not db.checkpoint()
    assert db.checkpoint()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """
    `status` and its like open the file read-only.
    """
    SqliteDatabase(tmp_path / "ledger.sqlite").close()
    reader = SqliteDatabase(tmp_path / "ledger.sqlite", read_only=True)
    with closing(reader), pytest.raises(LedgerError, match="readonly"):
        fetch(reader, "DELETE FROM jobs")


def test_a_file_that_is_no_ledger_is_refused_in_words(tmp_path: Path) -> None:
    """
    Not a database, an empty file read-only, a missing file, a missing folder.
    """
    (tmp_path / "text").write_text("hello, this is no database at all" * 100)
    (tmp_path / "empty").touch()
    for name, read_only, words in (
        ("text", False, "not a database"),
        ("empty", True, "not a ledger"),
        ("missing", True, "unable to open"),
        ("no/folder", False, "unable to open"),
    ):
        with pytest.raises(LedgerError, match=words):
            SqliteDatabase(tmp_path / name, read_only=read_only)


def test_a_postgres_that_is_not_there_is_an_error_in_words() -> None:
    """
    With the name of the dataset, and without a password.
    """
    with pytest.raises(LedgerError, match="cannot open the ledger 'photos'") as caught:
        PostgresDatabase("postgresql://me:secret@127.0.0.1:1/none", "photos")
    assert "secret" not in str(caught.value)


def test_datasets_of_one_postgres_know_nothing_of_each_other(postgres_url: str) -> None:
    """
    Each has a schema of its own, whatever its name.
    """
    with (
        closing(PostgresDatabase(postgres_url, 'nightly "v2"', create=True)) as one,
        closing(PostgresDatabase(postgres_url, "Nightly; DROP", create=True)) as other,
    ):
        Books.opened(one, jobs=3)
        assert fetch(one, "SELECT COUNT(*) FROM jobs") == [(3,)]
        assert fetch(other, "SELECT COUNT(*) FROM jobs") == [(0,)]


def test_postgres_enforces_what_refers_to_what(postgres_url: str) -> None:
    """
    The tests run every operation here too, so SQLite need not pay for it.
    """
    with closing(PostgresDatabase(postgres_url, "references", create=True)) as db:
        with pytest.raises(LedgerError, match="foreign key"):
            fetch(db, "INSERT INTO manifest_files (manifest_seq, path) VALUES (9, 'x')")
        with psycopg.connect(postgres_url) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_plain_sqlite_reads_the_ledger_while_it_is_written(tmp_path: Path) -> None:
    """
    Any tool will do, in the middle of a run.
    """
    books = Books.opened(SqliteDatabase(tmp_path / "ledger.sqlite"), jobs=2)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as tool:
        for expected in (0, 1, 2):
            assert tool.execute("SELECT SUM(creates) FROM costs").fetchone() == (expected,)
            if expected < 2:
                books.buy(expected + 1)


def test_a_reader_can_tell_whether_anything_was_committed_since(tmp_path: Path) -> None:
    """
    What it summed up stays true until then.
    """
    with (
        closing(SqliteDatabase(tmp_path / "ledger.sqlite")) as db,
        closing(SqliteDatabase(tmp_path / "ledger.sqlite", read_only=True)) as reader,
    ):
        before = reader.changes_seen()
        assert reader.changes_seen() == before
        books = Books(db)
        books.import_rows("m", [])
        assert (after := reader.changes_seen()) != before
        assert reader.changes_seen() == after
