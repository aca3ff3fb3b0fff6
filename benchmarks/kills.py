"""100 kills -9 of one dataset of 200 jobs: what is paid twice, lost, or left over.

Times are scaled ten times down, `reconcile.lag` too.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.side import tell
from tests.kills.killing import SPEED, Victim, check
from tests.support.emulator import emulator_process

_KILLS = 100
_JOBS = 200
_LONGEST_S = 2.0


def main(seed: int) -> None:
    flags = ("--speed", str(SPEED), "--image-size", "64", "--duration", "10")
    began = time.monotonic()
    with emulator_process(*flags) as emulator, tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder), emulator)
        victim.write(_JOBS)
        kills = victim.kill_at_random(_KILLS, random.Random(seed), _LONGEST_S)
        victim.finish(600)
        books = check(victim, _JOBS)
        stats = emulator.stats()
    figures = {
        "kills": kills,
        "jobs": _JOBS,
        **books,
        "worst_window": stats["worst_window"],
        "worst_concurrency": stats["worst_concurrency"],
        "seconds": round(time.monotonic() - began, 1),
    }
    tell("kills", {"engine": figures})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
