"""100 kills -9 of one dataset of 200 jobs: what is paid twice, lost, or left over.

Times are scaled ten times down, `reconcile.lag` too. With `s3` its images are in an object store.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from benchmarks.side import tell
from tests.kills.killing import SPEED, Victim, check
from tests.support.emulator import emulator_process
from tests.support.object_store import object_store

_KILLS = 100
_JOBS = 200
_LONGEST_S = 2.0


def main(seed: int, *, in_bucket: bool = False) -> None:
    flags = ("--speed", str(SPEED), "--image-size", "64", "--duration", "10")
    began = time.monotonic()
    with (
        emulator_process(*flags) as emulator,
        tempfile.TemporaryDirectory() as folder,
        object_store() if in_bucket else nullcontext() as store,
    ):
        victim = Victim(Path(folder), emulator, store=store)
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
    tell("kills_s3" if in_bucket else "kills", {"engine": figures})


if __name__ == "__main__":
    seeds = [int(word) for word in sys.argv[1:] if word != "s3"]
    main(seeds[0] if seeds else 1, in_bucket="s3" in sys.argv[1:])
