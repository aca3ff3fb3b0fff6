"""Share of the slot time used: ~10 s jobs (lognormal, sigma 0.15), 10 slots, loopback.

The emulator's own integral of unfinished predictions, from one minute after the first
create to the last one, while there are more jobs than slots. By polling, by webhook, and
by the plain script.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.side import Load, Measured, run_engine, run_script, serve, tell
from tests.support.emulator import EmulatorProcess

_SLOTS = 10
_WARM_S = 60.0
_HOOKS = (
    ("FLUXBATCH_WEBHOOK__PUBLIC_URL", "http://127.0.0.1:0"),
    ("FLUXBATCH_WEBHOOK__LISTEN", "127.0.0.1:0"),
)

Run = Callable[[Load, EmulatorProcess, Path], Measured]


def _by_engine(load: Load, emulator: EmulatorProcess, folder: Path) -> Measured:
    return run_engine(load, at=(emulator, folder))


def _by_script(load: Load, emulator: EmulatorProcess, _: Path) -> Measured:
    return run_script(load, emulator=emulator)


@contextmanager
def _sampled(emulator: EmulatorProcess) -> Iterator[list[Mapping[str, Any]]]:
    """The emulator's books twice a second."""
    samples: list[Mapping[str, Any]] = []
    over = Event()

    def watch() -> None:
        while not over.wait(0.5):
            with suppress(OSError):
                samples.append(emulator.stats())

    thread = Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _figures(samples: Sequence[Mapping[str, Any]], jobs: int) -> dict[str, object]:
    begun = [one for one in samples if one["created"]]
    warm = next(s for s in begun if s["now_s"] >= begun[0]["first_create_s"] + _WARM_S)
    last = [s for s in begun if s["created"] < jobs][-1]
    polls = last["polls_per_prediction"] * last["created"]
    polls -= warm["polls_per_prediction"] * warm["created"]
    span_s = last["now_s"] - warm["now_s"]
    return {
        "slot_use": round((last["slot_seconds"] - warm["slot_seconds"]) / (_SLOTS * span_s), 4),
        "polls_per_job": round(polls / (last["created"] - warm["created"]), 2),
        "refused": last["refused_rate"] + last["refused_concurrent"],
        "measured_s": round(span_s, 1),
    }


def _measure(load: Load, run: Run) -> dict[str, object]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(load) as emulator,
        _sampled(emulator) as samples,
    ):
        measured = run(load, emulator, Path(folder))
    planned = measured.planned() if measured.plan is not None else {}
    return {**_figures(samples, load.jobs), **planned}


def main(jobs: int = 240) -> None:
    flags = ("--duration", "10", "--sigma", "0.15", "--seed", "7")
    load = Load(jobs, _SLOTS, emulator=flags)
    hooked = Load(jobs, _SLOTS, emulator=flags, settings=_HOOKS)
    rows = {
        "by polling": _measure(load, _by_engine),
        "by webhook": _measure(hooked, _by_engine),
        "plain script": _measure(load, _by_script),
    }
    tell("slot_use", rows)


if __name__ == "__main__":
    main()
