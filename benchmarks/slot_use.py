"""Share of the slot time used: ~10 s jobs (lognormal, sigma 0.15), 10 slots, loopback.

The emulator's own integral of unfinished predictions: over the first 120 jobs of a dataset that
knows nothing yet, and from one minute after the first create to the last one, while there are
more jobs than slots. By polling, by webhook, and by the plain script; `polling` as an argument
measures the first alone.
"""

from __future__ import annotations

import sys
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
_FIRST_JOBS = 120
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
    first = [one for one in begun if one["created"] <= _FIRST_JOBS][-1]
    warm = next(s for s in begun if s["now_s"] >= begun[0]["first_create_s"] + _WARM_S)
    last = [s for s in begun if s["created"] < jobs][-1]
    span_s = last["now_s"] - warm["now_s"]
    return {
        **_between(warm, last),
        **{f"first_{name}": value for name, value in _between(begun[0], first).items()},
        "refused": last["refused_rate"] + last["refused_concurrent"],
        "measured_s": round(span_s, 1),
    }


def _between(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, object]:
    """Of the time from *one* sample to the *other*."""
    polls = other["polls_per_prediction"] * other["created"]
    polls -= one["polls_per_prediction"] * one["created"]
    span_s = other["now_s"] - one["now_s"]
    return {
        "slot_use": round((other["slot_seconds"] - one["slot_seconds"]) / (_SLOTS * span_s), 4),
        "polls_per_job": round(polls / (other["created"] - one["created"]), 2),
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


def main(jobs: int = 240, *, polling_alone: bool = False) -> None:
    flags = ("--duration", "10", "--sigma", "0.15", "--seed", "7")
    load = Load(jobs, _SLOTS, emulator=flags)
    hooked = Load(jobs, _SLOTS, emulator=flags, settings=_HOOKS)
    if polling_alone:
        tell("slot_use", {"by polling": _measure(load, _by_engine)}, keep=False)
        return
    rows = {
        "by polling": _measure(load, _by_engine),
        "by webhook": _measure(hooked, _by_engine),
        "plain script": _measure(load, _by_script),
    }
    tell("slot_use", rows)


if __name__ == "__main__":
    main(polling_alone=sys.argv[1:] == ["polling"])
