"""One key used by two machines that know nothing of each other, or by one, on a spare provider.

The provider says nothing of when to come back, and counts accepted creates or all that were tried.
Both must get on, and what they try together must stay near the limit: at most 1.15 times, after the
first window. Times are scaled ten times down; `python -m benchmarks.shared_key [JOBS]`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.side import tell, write_manifest
from tests.support.emulator import EmulatorProcess, emulator_process

_SPEED = 10
_LIMIT = 100
_LONGEST_S = 240.0


def _start(emulator: EmulatorProcess, folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    manifest = write_manifest(folder / "manifest.jsonl", jobs)
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "EACHLABS_API_KEY": "shared-by-machines",
        "FLUXBATCH_LIMITS__CREATES": str(_LIMIT),
        "FLUXBATCH_LIMITS__WINDOW": str(60 / _SPEED),
        "FLUXBATCH_PROVIDER__TIMEOUT": str(30 / _SPEED),
        "FLUXBATCH_RECONCILE__LAG": str(30 / _SPEED),
        "FLUXBATCH_SINK__MIN_FREE": "0",
    }
    command = [sys.executable, "-m", "fluxbatch", "run", str(manifest), "--yes", "--quiet"]
    where = ["--out", str(folder / "dataset"), "--base-url", emulator.base_url]
    with (folder / "said.txt").open("wb") as said:
        return subprocess.Popen([*command, *where], env=environ, stdout=said, stderr=said)


def _measure(*, machines: int, counts: str, slots: int, jobs: int) -> dict[str, object]:
    flags = ("--speed", str(_SPEED), "--image-size", "64", "--duration", "3", "--sigma", "0.15",
             "--rate", str(_LIMIT), "--rate-counts", counts, "--no-retry-after",
             "--concurrent", str(slots))  # fmt: skip
    with emulator_process(*flags) as emulator, tempfile.TemporaryDirectory() as place:
        began_s = time.monotonic()
        folders = [Path(place, f"machine-{number}") for number in range(machines)]
        at_work = [_start(emulator, folder, jobs) for folder in folders]
        codes = list[int | None]()
        for process in at_work:
            try:
                codes.append(process.wait(max(began_s + _LONGEST_S - time.monotonic(), 0.1)))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(None)
        stats = emulator.stats()
        took_s = time.monotonic() - began_s
    return {
        "exits": " ".join(map(str, codes)),
        "created": stats["created"],
        "refused": stats["refused_rate"] + stats["refused_concurrent"],
        "worst_attempts": stats["worst_attempts"],
        "later_attempts": stats["later_attempts"],
        "seconds": round(took_s, 1),
        "ideal_s": round(machines * jobs / _LIMIT * 60 / _SPEED, 1),
    }


def main(jobs: int = 300) -> None:
    rows = {
        f"{machines} {'machine' if machines == 1 else 'machines'}, {counts}, {slots} slots": (
            _measure(machines=machines, counts=counts, slots=slots, jobs=jobs)
        )
        for machines in (1, 2)
        for counts in ("accepted", "attempted")
        for slots in (0, 10)
    }
    tell("shared_key", rows, keep=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
