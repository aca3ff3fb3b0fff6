"""The cost of the engine itself beside a plain script, limits off: 50 ms jobs, 500 in flight.

Both programs download and decode; only the engine keeps a durable ledger and files. They run in
turns, three pairs for each size of image, and medians are told, without what their start costs.
No dataset is removed before all have run: creating files soon after others were removed is slow in
ext4, and would be counted against the engine.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.side import Load, Measured, run_engine, run_script, serve, tell

_PAIRS = 3
_IMAGES = {"64 px jpg": (64, "jpg"), "256 px webp": (256, "webp")}
_PARTS = {"sink_ms": "sink_s", "verify_ms": "verify_s", "ledger_ms": "ledger_s",
          "lane_ms": "lane_s"}  # fmt: skip
"""What the engine spends in threads; decoding (verify) is part of the sink's."""

Figures = Mapping[str, float]


def _figures(measured: Measured, jobs: int) -> dict[str, float]:
    own = measured.own
    cpu_s = own["cpu_s"] - own["start_cpu_s"]
    figures = {
        "cpu_ms_per_job": 1000 * cpu_s / jobs,
        "jobs_per_s": jobs / own["seconds"],
        "start_cpu_s": own["start_cpu_s"],
    }
    if "sink_s" in own:
        threads_s = sum(own[name] for name in ("sink_s", "ledger_s", "lane_s", "other_s"))
        figures |= {name: 1000 * own[part] / jobs for name, part in _PARTS.items()}
        figures["loop_ms"] = 1000 * (cpu_s - threads_s) / jobs
        figures["trips_per_job"] = own["thread_calls"] / jobs
        figures["max_rss_mb"] = own["max_rss_mb"]
    return figures


def _medians(runs: Sequence[Figures]) -> dict[str, float]:
    return {name: round(median(run[name] for run in runs), 3) for name in runs[0]}


def main(jobs: int = 5_000, pairs: int = _PAIRS) -> None:
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as kept:
        for label, (size, kind) in _IMAGES.items():
            load = Load(
                jobs,
                slots=500,
                creates=0,
                emulator=("--duration", "0.05", "--sigma", "0"),
                settings=(("FLUXBATCH_SINK__DOWNLOADS", "64"),),
                image_size=size,
                kind=kind,
            )
            engine, script = list[Figures](), list[Figures]()
            for pair in range(pairs):
                folder = Path(kept) / f"{size}-{pair}"
                folder.mkdir()
                with serve(load) as emulator:
                    engine.append(_figures(run_engine(load, at=(emulator, folder)), jobs))
                script.append(_figures(run_script(load, poll_s=0.06), jobs))
            ratios = [
                a["cpu_ms_per_job"] / b["cpu_ms_per_job"]
                for a, b in zip(engine, script, strict=True)
            ]
            rows[f"engine, {label}"] = _medians(engine)
            rows[f"script, {label}"] = _medians(script)
            rows[f"ratio, {label}"] = {"cpu": round(median(ratios), 2)}
    tell("overhead", rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
