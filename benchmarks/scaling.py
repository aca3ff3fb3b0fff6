"""1, 10 and 50 lanes in one process, each at the full rate of 100 creates in any 60 s.

~5 s jobs on ten slots a lane, 64 x 64 jpg outputs; real limits and real seconds, so the share of
one core is what such a run costs. `python -m benchmarks.scaling [JOBS_A_LANE]`.
"""

from __future__ import annotations

import sys

from benchmarks.side import Load, run_engine, tell

_LANES = (1, 10, 50)
_JOBS_A_LANE = 160


def _figures(lanes: int, jobs_a_lane: int) -> dict[str, object]:
    jobs = lanes * jobs_a_lane
    load = Load(
        jobs,
        keys=lanes,
        emulator=("--duration", "5", "--sigma", "0.15"),
        settings=(("FLUXBATCH_SINK__DOWNLOADS", "64"),),
    )
    measured = run_engine(load)
    own, stats = measured.own, measured.stats
    return {
        "lanes": lanes,
        "jobs": jobs,
        "seconds": own["seconds"],
        "jobs_per_s": round(jobs / own["seconds"], 2),
        "cpu_share": round((own["cpu_s"] - own["verify_s"]) / own["seconds"], 3),
        "verify_ms": round(1000 * own["verify_s"] / jobs, 3),
        "max_rss_mb": own["max_rss_mb"],
        "refused": stats["refused_rate"] + stats["refused_concurrent"],
    }


def main(jobs_a_lane: int = _JOBS_A_LANE) -> None:
    rows = {f"{lanes} lanes": _figures(lanes, jobs_a_lane) for lanes in _LANES}
    tell("scaling", rows, keep=jobs_a_lane == _JOBS_A_LANE)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
