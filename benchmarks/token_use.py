"""300 three-second jobs under a strict window of 100 creates in 60 s, 0-200 ms each way.

The ideal greedy schedule takes 150 s: 100 creates in each of three windows, the last
hundred jobs in 30 s on ten slots.
"""

from __future__ import annotations

from benchmarks.side import Load, Measured, run_engine, run_script, tell

_JOBS = 300
_IDEAL_S = 150.0


def _figures(measured: Measured) -> dict[str, object]:
    seconds = float(measured.own["seconds"])
    stats = measured.stats
    return {
        "seconds": seconds,
        "of_ideal": round(seconds / _IDEAL_S, 3),
        "refused": stats["refused_rate"] + stats["refused_concurrent"],
        "worst_window": stats["worst_window"],
        "polls_per_job": round(stats["polls_per_prediction"], 2),
    }


def main() -> None:
    load = Load(_JOBS, emulator=("--duration", "3", "--sigma", "0", "--jitter", "0.2"))
    engine = run_engine(load)
    tell(
        "token_use",
        {
            "engine": {**_figures(engine), **engine.planned()},
            "plain script": _figures(run_script(load)),
        },
    )


if __name__ == "__main__":
    main()
