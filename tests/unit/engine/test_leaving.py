"""A process that was told twice to leave has left within a second."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from fluxbatch.engine.leaving import leaving

STUCK = """
import sys, threading, time
from fluxbatch.engine.leaving import leaving
with leaving() as leave:
    print("begun", flush=True)
    leave(130)
    {what}
"""


@pytest.mark.parametrize(
    "what",
    [
        "time.sleep(60)",
        "threading.Thread(target=time.sleep, args=(60,)).start()\n    threading.Event().wait()",
        "while True: pass",
    ],
    ids=["asleep", "a thread that nobody can stop", "busy"],
)
def test_whatever_it_does(what: str) -> None:
    """
    By its own exit code, and without a word.
    """
    command = [sys.executable, "-c", STUCK.format(what=what)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        began_s = time.monotonic()
        _, err = process.communicate(timeout=30)
        took_s = time.monotonic() - began_s
    assert (process.returncode, err) == (130, b"")
    assert took_s < 1.5  # 0.8 s, and what a busy machine adds


def test_who_ends_by_itself_is_left_alone() -> None:
    """
    Or this test would end all of them.
    """
    with leaving() as leave:
        leave(9)
