"""`python -m tests.simulation [--shared] --seeds N [--seed n]`: many seeds, or one in full."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
    parser.add_argument("--shared", action="store_true", help="several processes, one PostgreSQL")
    parser.add_argument("--most-failures", type=int, default=20)
    given = parser.parse_args()
    if given.seed is not None:
        return _one(given.seed, is_shared=given.shared)
    seeds = range(given.first, given.first + given.seeds)
    return _many(seeds, given.jobs, given.most_failures, is_shared=given.shared)


def _one(seed: int, *, is_shared: bool) -> int:
    ran = _run(seed, _say, is_shared=is_shared)
    _say(f"seed {seed} broke no rule: {ran}")
    return 0


def _run(seed: int, tell: Callable[[str], None] | None, *, is_shared: bool) -> object:
    if is_shared:
        from tests.simulation.shared.running import run_seed as run_shared  # starts a server

        return run_shared(seed, tell)
    return run_seed(seed, tell)


def _many(seeds: range, jobs: int, most_failures: int, *, is_shared: bool) -> int:
    began = told = time.monotonic()
    done, failures = 0, list[Failure]()
    with ProcessPoolExecutor(jobs) as pool:
        for count, failed in pool.map(partial(_chunk, is_shared=is_shared), _chunks(seeds)):
            done += count
            for failure in failed:
                failures.append(failure)
                again = f"make simulate SEED={failure.seed}{' SHARED=1' if is_shared else ''}"
                _say(f"seed {failure.seed}: {failure.what}\n  {again}")
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


def _chunk(seeds: range, *, is_shared: bool) -> tuple[int, list[Failure]]:
    gc.set_threshold(50_000, 20, 20)  # tasks come and go by the thousand
    failures = (failure_of(seed, is_shared=is_shared) for seed in seeds)
    return len(seeds), [failure for failure in failures if failure is not None]


def failure_of(seed: int, *, is_shared: bool = False) -> Failure | None:
    """What the seed broke, if anything."""
    try:
        _run(seed, None, is_shared=is_shared)
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
