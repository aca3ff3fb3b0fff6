"""Share of the slot time used: ~10 s jobs (lognormal, sigma 0.15), 10 slots, loopback.

The emulator's own integral of unfinished predictions over the time from the first to the
last create, where the slots are what there is too few of.
"""

from __future__ import annotations

from benchmarks.side import Load, Measured, run_engine, run_script, tell

_SLOTS = 10


def _figures(measured: Measured, jobs: int) -> dict[str, object]:
    stats = measured.stats
    wall_s = stats["now_s"] - stats["first_create_s"]
    # The tail, when fewer jobs are left than slots, is nobody's waste: leave it out.
    busy_s = stats["last_create_s"] - stats["first_create_s"]
    mean_s = stats["slot_seconds"] / jobs
    used = (jobs - _SLOTS) * mean_s / (_SLOTS * busy_s) if busy_s > 0 else 0.0
    return {
        "slot_use": round(used, 4),
        "polls_per_job": round(stats["polls_per_prediction"], 2),
        "refused": stats["refused_rate"] + stats["refused_concurrent"],
        "seconds": round(wall_s, 1),
    }


def main(jobs: int = 240) -> None:
    load = Load(jobs, _SLOTS, emulator=("--duration", "10", "--sigma", "0.15", "--seed", "7"))
    engine = run_engine(load)
    rows = {
        "engine": {**_figures(engine, jobs), **engine.planned()},
        "plain script": _figures(run_script(load), jobs),
    }
    tell("slot_use", rows)


if __name__ == "__main__":
    main()
