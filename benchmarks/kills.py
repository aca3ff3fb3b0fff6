"""100 kills -9 of one dataset of 200 jobs: what is paid twice, lost, or left over.

Times are scaled ten times down, `reconcile.lag` too. With `s3` its images are in an object store;
`card` (as it is without a word) or `docs` is the way the provider answers.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from benchmarks.side import tell
from tests.kills.killing import SPEED, Victim, check, held
from tests.support.emulator import emulator_process
from tests.support.object_store import object_store

_KILLS = 100
_JOBS = 200
_LONGEST_S = 1.8


def main(seed: int, *, in_bucket: bool = False, dialect: str = "card") -> None:
    flags = ("--speed", str(SPEED), "--image-size", "64", "--duration", "10")
    began = time.monotonic()
    with (
        emulator_process(*flags, dialect=dialect) as emulator,
        tempfile.TemporaryDirectory() as folder,
        object_store() if in_bucket else nullcontext() as store,
    ):
        victim = Victim(Path(folder), emulator, store=store)
        victim.write(_JOBS)
        good = frozenset({0, 7})
        kills = victim.kill_at_random(_KILLS, random.Random(seed), _LONGEST_S, good)
        code = victim.start().wait(600)
        assert code in {0, 7}, victim.log()
        books = check(victim, _JOBS) if code == 0 else held(victim)
        stats = emulator.stats()
    figures = {
        "dialect": dialect,
        "kills": kills,
        "jobs": _JOBS,
        **books,
        "worst_window": stats["worst_window"],
        "worst_concurrency": stats["worst_concurrency"],
        "seconds": round(time.monotonic() - began, 1),
    }
    name = "_".join(["kills", *["s3"] * in_bucket, *["docs"] * (dialect == "docs")])
    tell(name, {"engine": figures})


if __name__ == "__main__":
    words = sys.argv[1:]
    seeds = [int(word) for word in words if word.isdecimal()]
    spoken = "docs" if "docs" in words else "card"
    main(seeds[0] if seeds else 1, in_bucket="s3" in words, dialect=spoken)
