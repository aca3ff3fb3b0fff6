"""Every transient fault at once, one time in ten each; then the same with kills under a cap.

300 jobs must all be done and none billed twice; a run capped at $1.00 must never have the
provider's books above it, whether errors and cancelled predictions are billed or not.
Times are scaled ten times down: a minute of the provider lasts six seconds.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.side import tell
from tests.kills.killing import SPEED, Victim, check, held
from tests.support.emulator import EmulatorProcess, emulator_process

_CHANCE = 0.1
_STUCK = 0.25
"""Predictions that never end by themselves: they are cancelled, and may be billed."""
_JOBS = 300
_CAPPED_JOBS = 80
_CAP_MICRO_USD = 1_000_000
_KILLS = 10
_LONGEST_S = 10.0

TRANSIENT = (
    "create_reset_before", "create_reset_after", "create_500_before", "create_500_after",
    "create_504_html_after", "create_408_after", "create_timeout_after", "create_late",
    "create_garbled", "create_no_id", "create_slow", "create_429_rate", "create_429_concurrent",
    "get_500", "get_503_html", "get_reset", "get_timeout", "get_slow", "get_429", "get_404",
    "get_garbled", "get_unknown_word", "cancel_500",
    "list_late", "list_500", "list_403", "list_reset", "list_moving", "list_strangers",
    "presign_500", "put_403", "put_500",
    "download_truncated", "download_truncated_short", "download_html_200", "download_zero",
    "download_wrong_type", "download_drip", "download_timeout", "download_reset",
    "download_redirect", "download_redirect_loop", "download_redirect_private",
    "download_403_expired", "download_404", "download_500",
)  # fmt: skip
"""Whatever another try may mend. How a prediction itself ends is no such thing: a job whose
three executions all fail has failed."""

_BY_SPEED = {
    "FLUXBATCH_PROVIDER__TIMEOUT": str(30 / SPEED),
    "FLUXBATCH_PROVIDER__DEADLINE": str(900 / SPEED),
    "FLUXBATCH_RECONCILE__LAG": str(30 / SPEED),
    "FLUXBATCH_RECONCILE__PATIENCE": str(600 / SPEED),
    "FLUXBATCH_SINK__TIMEOUT": str(120 / SPEED),
}


def _emulator(dialect: str = "card") -> Any:
    flags = ("--speed", str(SPEED), "--image-size", "64", "--duration", "10")
    return emulator_process(*flags, dialect=dialect)


def every_fault(
    dialect: str = "docs", *, sole_user: bool = True, chance: float = _CHANCE, jobs: int = _JOBS
) -> dict[str, object]:
    """All at once, nobody kills: nothing is billed twice, and what is not held is done.

    Where others create too, what is lost under the card's answers is held for the user to settle.
    """
    began = time.monotonic()
    faults = [name for name in TRANSIENT if not (sole_user and name == "list_strangers")]
    with _emulator(dialect) as emulator, tempfile.TemporaryDirectory() as folder:
        emulator.faults(**dict.fromkeys(faults, chance))
        settings = {**_BY_SPEED, "FLUXBATCH_RECONCILE__SOLE_USER": str(sole_user).lower()}
        victim = Victim(Path(folder), emulator, settings=settings)
        victim.write(jobs)
        code = victim.start().wait(1_800)
        assert code in {0, 7}, victim.log()
        books = check(victim, jobs) if code == 0 else held(victim)
    took = round(time.monotonic() - began, 1)
    return {"jobs": jobs, "chance": chance, "exit": code, **books, "seconds": took}


def capped(*, billed: bool, seed: int) -> dict[str, object]:
    """More jobs than the cap allows, executions that fail, and kills."""
    began = time.monotonic()
    with _emulator() as emulator, tempfile.TemporaryDirectory() as folder:
        faults = dict.fromkeys((*TRANSIENT, "prediction_error", "prediction_no_output"), _CHANCE)
        faults["prediction_stuck"] = _STUCK
        emulator.faults(**faults, bill_errors=int(billed), bill_cancelled=int(billed))
        settings = {
            **_BY_SPEED,
            "FLUXBATCH_BUDGET__PER_RUN": str(_CAP_MICRO_USD / 1e6),
            # What is stuck is cancelled within the benchmark.
            "FLUXBATCH_PROVIDER__DEADLINE": str(300 / SPEED),
        }
        victim = Victim(Path(folder), emulator, settings=settings)
        victim.write(_CAPPED_JOBS)
        with _Auditor(emulator) as auditor:
            dice = random.Random(seed)
            kills = victim.kill_at_random(_KILLS, dice, _LONGEST_S, good={0, 3, 4, 7})
            code = victim.start().wait(900) if kills == _KILLS else None
        stats, ends = emulator.stats(), [one["state"] for one in emulator.predictions()]
    assert code in {None, 0, 3, 4, 7}, victim.log()
    assert stats["double_billed"] == 0
    assert auditor.worst <= _CAP_MICRO_USD
    return {
        "jobs": _CAPPED_JOBS,
        "kills": kills,
        "created": stats["created"],
        "billed": stats["billed"],
        "cancelled": ends.count("cancelled"),
        "double_billed": stats["double_billed"],
        "books_at_most_usd": auditor.worst / 1e6,
        "seconds": round(time.monotonic() - began, 1),
    }


class _Auditor:
    """Looks at the provider's books all the time."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self.worst = 0
        self._emulator = emulator
        self._over = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> _Auditor:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self._look()
        self._look()

    def _look(self) -> None:
        stats = self._emulator.stats()
        self.worst = max(self.worst, stats["billed_micro_usd"] + stats["in_flight_micro_usd"])


def main(seed: int) -> None:
    rows = {
        "every fault": every_fault(),
        "card, sole user": every_fault("card"),
        "card, not alone": every_fault("card", sole_user=False),
        "1 % each, card, sole user": every_fault("card", chance=0.01),
        "1 % each, card, not alone": every_fault("card", sole_user=False, chance=0.01),
        "$1.00 cap": capped(billed=False, seed=seed),
        "errors billed": capped(billed=True, seed=seed + 1),
    }
    tell("faults", rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
