"""A real process, really killed: what it was told is durable is there.

Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from tests.ledger.support import PRICE, Books, all_rows, assert_agrees

_CHILD = """
import sys
from pathlib import Path
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.writer import commit_group
from tests.ledger.support import Books
books = Books.opened(SqliteDatabase(Path(sys.argv[1])), jobs=4000)
for first in range(1, 4000, 7):
    outcomes = commit_group(books.db, [books.intent(n) for n in range(first, first + 7)])
    print(*(outcome.result.prediction_seq for outcome in outcomes), flush=True)
"""


@pytest.mark.parametrize("after", [1, 20, 111])
def test_what_a_killed_process_reported_as_durable_is_there(tmp_path: Path, after: int) -> None:
    """
    It says each number after the commit and is killed without warning while it goes on.
    """
    path = tmp_path / "ledger.sqlite"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
    reported = [int(seq) for line in told if line.endswith("\n") for seq in line.split()]
    assert child.returncode == -signal.SIGKILL
    assert len(reported) >= 7 * after

    db = SqliteDatabase(path)
    there = [row["seq"] for row in all_rows(db, schema.predictions)]
    assert there[: len(reported)] == reported
    assert len(there) % 7 == 0, "a group is there as a whole or not at all"
    assert Books(db).money == (PRICE * len(there), 0, 0)
    assert_agrees(db)
