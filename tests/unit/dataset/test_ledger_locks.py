"""A ledger that several connections and processes have open: none of them takes it from another.

POSIX drops all locks that a process has on a file as soon as it closes any handle of it. Who takes
a connection for gone folds the write-ahead log into the file and removes it: what is committed
after that is nowhere. Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import ControlFile
from fluxbatch.errors import ManifestError, RejectedRequest
from fluxbatch.infra.open_databases import is_of_open_database
from fluxbatch.manifest.control_images.resolve import BadControl, ControlImages, MemoryFileHashes
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.provider.upload import read_control
from tests.ledger.support import Books, fetch, make_rows

_LOOK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute("SELECT count(*) FROM jobs").fetchone()[0])
db.close()
"""


def seen_by_another_program(ledger: Path) -> int:
    """It opens the file as `sqlite3 ledger.sqlite` does, and closes it."""
    command = [sys.executable, "-c", _LOOK, str(ledger)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_what_is_committed_after_another_program_looked_is_there(tmp_path: Path) -> None:
    """
    Also where the run itself has read its ledger on a second connection before.
    """
    folder = Folder(tmp_path)
    with closing(folder.make_ledger()) as db:
        books = Books.opened(db, jobs=2)
        with folder.reader() as reading:
            assert len(fetch(reading, "SELECT seq FROM jobs")) == 2
        assert folder.lost_ledger() is None
        assert seen_by_another_program(folder.ledger) == 2
        books.import_rows("more", make_rows(5))

        assert seen_by_another_program(folder.ledger) == 5


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["itself", "a hard link", "a link"])
def test_a_ledger_s_file_is_no_control_image_and_no_manifest(
    kind: str, ending: str, tmp_path: Path
) -> None:
    """
    By whatever name: it is refused before it is opened, or closing it would cost its locks.
    """
    folder, photo = Folder(tmp_path / "d"), tmp_path / "photo.png"
    folder.make()
    with closing(folder.make_ledger()) as db:
        books = Books.opened(db, jobs=2)
        file = Path(f"{folder.ledger}{ending}")
        if kind == "itself":
            photo = file
        else:
            (photo.hardlink_to if kind == "a hard link" else photo.symlink_to)(file)
        images = ControlImages(tmp_path, MemoryFileHashes(), allow_http=False)
        with pytest.raises(BadControl, match="a database in use here"):
            images.resolve(str(photo))
        with pytest.raises(ManifestError, match="a database in use here"):
            FileSource(photo)
        assert seen_by_another_program(folder.ledger) == 2
        books.import_rows("more", make_rows(5))

        assert seen_by_another_program(folder.ledger) == 5
    assert not is_of_open_database(folder.ledger.stat())


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_a_ledger_s_file_in_a_control_image_s_place_is_not_uploaded(
    ending: str, tmp_path: Path
) -> None:
    """
    Somebody put it there after the manifest was read.
    """
    folder, photo = Folder(tmp_path / "d"), tmp_path / "photo.png"
    folder.make()
    with closing(folder.make_ledger()) as db:
        books = Books.opened(db, jobs=2)
        photo.hardlink_to(Path(f"{folder.ledger}{ending}"))
        with pytest.raises(RejectedRequest, match="belongs to a database in use here"):
            read_control(ControlFile(str(photo), "ab" * 32, 100, "image/png"))
        assert seen_by_another_program(folder.ledger) == 2
        books.import_rows("more", make_rows(5))

        assert seen_by_another_program(folder.ledger) == 5


def test_a_pipe_in_a_control_image_s_place_is_not_waited_for(tmp_path: Path) -> None:
    """
    Nobody may ever write to it.
    """
    os.mkfifo(tmp_path / "photo.png")
    with pytest.raises(RejectedRequest, match="no regular file"):
        read_control(ControlFile(str(tmp_path / "photo.png"), "ab" * 32, 100, "image/png"))


def test_a_reader_sees_what_runs_write_that_begin_and_end_after_it(tmp_path: Path) -> None:
    """
    As a live page does, with several connections that were opened one after the other.
    """
    folder = Folder(tmp_path)
    with closing(folder.make_ledger()) as db:
        Books.opened(db, jobs=2)
        db.checkpoint()
    with folder.reader() as first, folder.reader() as second:
        for jobs in range(3, 9):
            subprocess.run(
                [sys.executable, "-c", _WRITE, str(tmp_path), str(jobs)], check=True, timeout=60
            )
            for reading in (first, second):
                assert len(fetch(reading, "SELECT seq FROM jobs")) == jobs


_WRITE = """
import sys
from contextlib import closing
from pathlib import Path
from fluxbatch.dataset.folder import Folder
from tests.ledger.support import Books, make_rows
with closing(Folder(Path(sys.argv[1])).writer()) as db:
    jobs = int(sys.argv[2])
    Books(db).import_rows(f"{jobs} rows", make_rows(jobs))
    db.checkpoint()
"""
