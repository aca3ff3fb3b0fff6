"""The most memory one run takes, against the rows of its manifest: imported, then a few creates.

`python -m benchmarks.memory [ROWS ...]`; each size in a process and a dataset of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.side import Load, run_engine, tell, write_manifest

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_CREATES = 20


def _figures(rows: int) -> dict[str, object]:
    load = Load(rows, slots=10, creates=0, limit=_CREATES, emulator=("--duration", "0.05"))
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(Path(folder) / "manifest.jsonl", rows, ids=True)
        own = run_engine(load, manifest).own
    assert own["rows"] == rows
    return {"rows": rows, "max_rss_mb": own["max_rss_mb"]}


def main(sizes: tuple[int, ...] = _SIZES) -> None:
    rows = {f"{size:,} rows": _figures(size) for size in sizes}
    tell("memory", rows, keep=sizes == _SIZES)


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or _SIZES)
