"""The cost of the engine itself: limits off, 50 ms jobs, 500 in flight, 64 x 64 jpg outputs.

Both programs download and decode; only the engine keeps a durable ledger and files.
"""

from __future__ import annotations

from benchmarks.side import Load, Measured, run_engine, run_script, tell


def _figures(measured: Measured, jobs: int) -> dict[str, object]:
    own = measured.own
    return {
        "cpu_ms_per_job": round(1000 * own["cpu_s"] / jobs, 3),
        "jobs_per_s": round(jobs / own["seconds"], 1),
        "verify_ms": round(1000 * own.get("verify_s", 0.0) / jobs, 3),
        "seconds": own["seconds"],
    }


def main(jobs: int = 6_000) -> None:
    load = Load(
        jobs,
        slots=500,
        creates=0,
        emulator=("--duration", "0.05", "--sigma", "0"),
        settings=(("FLUXBATCH_SINK__DOWNLOADS", "64"),),
    )
    engine = _figures(run_engine(load), jobs)
    script = _figures(run_script(load, poll_s=0.06), jobs)
    ratio = float(str(engine["cpu_ms_per_job"])) / float(str(script["cpu_ms_per_job"]))
    tell("overhead", {"engine": engine, "plain script": script, "ratio": {"cpu": round(ratio, 2)}})


if __name__ == "__main__":
    main()
