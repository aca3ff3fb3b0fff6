"""`python -m tests.simulation --seeds N [--seed n]`: many seeds on every core, or one in full."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.running import run_seed

_CHUNK = 25
_TOLD_S = 10.0


class Failure(NamedTuple):
    seed: int
    what: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, telling everything")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most-failures", type=int, default=20)
    given = parser.parse_args()
    if given.seed is not None:
        return _one(given.seed)
    return _many(range(given.first, given.first + given.seeds), given.jobs, given.most_failures)


def _one(seed: int) -> int:
    ran = run_seed(seed, tell=_say)
    _say(f"seed {seed} broke no rule: {ran}")
    return 0


def _many(seeds: range, jobs: int, most_failures: int) -> int:
    began = told = time.monotonic()
    done, failures = 0, list[Failure]()
    with ProcessPoolExecutor(jobs) as pool:
        for count, failed in pool.map(_chunk, _chunks(seeds)):
            done += count
            for failure in failed:
                failures.append(failure)
                _say(f"seed {failure.seed}: {failure.what}\n  make simulate SEED={failure.seed}")
            now = time.monotonic()
            if now - told > _TOLD_S or done == len(seeds):
                told = now
                rate = done / (now - began)
                _say(f"{done:,} of {len(seeds):,} seeds, {len(failures)} failed, {rate:.1f}/s")
            if len(failures) >= most_failures:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return 1 if failures else 0


def _chunks(seeds: range) -> Iterator[range]:
    for first in range(0, len(seeds), _CHUNK):
        yield seeds[first : first + _CHUNK]


def _chunk(seeds: range) -> tuple[int, list[Failure]]:
    gc.set_threshold(50_000, 20, 20)  # tasks come and go by the thousand
    return len(seeds), [failure for seed in seeds if (failure := failure_of(seed)) is not None]


def failure_of(seed: int) -> Failure | None:
    """What the seed broke, if anything."""
    try:
        run_seed(seed)
    except Exception as exc:  # noqa: BLE001  whatever it is, the seed failed
        return Failure(seed, last_words(exc))
    return None


def last_words(exc: BaseException) -> str:
    """The error that matters in a group, and where it comes from."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    frames = traceback.extract_tb(exc.__traceback__)
    at = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}: {exc}{at}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
