"""The times when a process of our own looks for garbage: seldom, never while it is imported."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc
looks = []
gc.callbacks.append(lambda phase, told: looks.append(phase) if phase == "start" else None)
from fluxbatch.infra.garbage import collect_seldom
collect_seldom()
del looks[:]
{then}
print(len(looks), gc.get_threshold()[0])
"""


def _looks(then: str) -> list[int]:
    """How often it was looked for while *then* was done, and how seldom it is from then on."""
    command = [sys.executable, "-c", _PROGRAM.format(then=then)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in ended.stdout.split()]


def test_what_a_run_imports_is_not_looked_through() -> None:
    """
    All of it stays: each look takes the first create ten milliseconds, and finds nothing.
    """
    assert _looks("import fluxbatch.cli.foreground_run")[0] == 0


def test_after_the_first_look_there_are_more_before_long() -> None:
    """
    What a run leaves in circles goes within some tens of megabytes.
    """
    looks, every = _looks("kept = [[] for _ in range(500_000)]")
    assert looks >= 5
    assert every == 50_000
