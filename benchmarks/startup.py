"""The time to the first create: a manifest never seen, one seen and half done, and a small one.

`python -m benchmarks.startup [ROWS]`. What is measured is the command itself, imports and all; the
moment of a create is the emulator's. The half that is done is the first job's own prediction and
output, copied in the ledger: buying half a million would take a day.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.side import Load, engine_settings, run_engine, tell, write_manifest
from tests.support.emulator import EmulatorProcess, emulator_process

_ROWS = 1_000_000
_SMALL_ROWS = 1_000
_TRIES = 5
_EMULATOR = ("--image-size", "64", "--duration", "0.05", "--rate", "0", "--concurrent", "0")


class _Sides(NamedTuple):
    """What a number of this benchmark is measured between."""

    emulator: EmulatorProcess
    folder: Path
    manifest: Path


def main(rows: int = _ROWS) -> None:
    with tempfile.TemporaryDirectory() as folder, emulator_process(*_EMULATOR) as emulator:
        manifest = write_manifest(Path(folder) / "manifest.jsonl", rows)
        sides = _Sides(emulator, Path(folder), manifest)
        first_sight = _first_sight(sides, rows)
        _do_half(sides.folder / "dataset" / "ledger.sqlite", rows)
        seen = _quickest(sides)
        small = _small(emulator, Path(folder) / "small")
    typer_s = _best_s("-c", "import typer")
    help_s = _best_s("-m", "fluxbatch", "--help")
    told = {
        "never seen": first_sight,
        "half done": {"rows": rows, **seen},
        "small": {"rows": _SMALL_ROWS, **small},
        "--help": {"seconds": round(help_s, 3), "of_import_typer": round(help_s / typer_s, 2)},
    }
    tell("startup", told, keep=rows == _ROWS)


def _first_sight(sides: _Sides, rows: int) -> dict[str, float]:
    """One import; leaves the dataset with its first jobs done."""
    load = Load(rows, slots=10, creates=0, limit=1)
    clock = _clock_of(sides.emulator)
    own = run_engine(load, sides.manifest, (sides.emulator, sides.folder)).own
    first_s = sides.emulator.stats()["first_create_s"] + clock
    importing_s = own["imported_at_s"] - own["began_at_s"]
    return {
        "rows": rows,
        "rows_per_s": round(rows / importing_s),
        "import_s": round(importing_s, 2),
        "cpu_us_per_row": round(1e6 * own["import_cpu_s"] / rows, 1),
        "first_create_s": round(first_s - own["imported_at_s"], 2),
    }


def _small(emulator: EmulatorProcess, folder: Path) -> dict[str, float]:
    """A manifest that was imported: what is left is the start of the program itself."""
    folder.mkdir()
    sides = _Sides(emulator, folder, write_manifest(folder / "manifest.jsonl", _SMALL_ROWS))
    _seen(sides)
    return _quickest(sides)


def _quickest(sides: _Sides) -> dict[str, float]:
    return min((_seen(sides) for _ in range(_TRIES)), key=lambda took: took["first_create_s"])


def _seen(sides: _Sides) -> dict[str, float]:
    """`fluxbatch run` in a process of its own, from its start to its first create."""
    emulator, folder, manifest = sides
    emulator.reset()
    clock = _clock_of(emulator)
    words = ["run", str(manifest), "--out", str(folder / "dataset"), "--limit", "1", "--quiet"]
    environ = {
        **os.environ,
        **engine_settings(Load(1), str(folder)),
        "EACHLABS_API_KEY": "engine-0",
        "EACHLABS_BASE_URL": emulator.base_url,
    }
    began_s, before = time.monotonic(), os.times()
    ended = _python("-m", "fluxbatch", *words, environ=environ)
    after = os.times()
    if ended.returncode != 4:  # stopped at the limit
        raise SystemExit(f"exit {ended.returncode}: {ended.stderr[-2_000:]}")
    first_s = emulator.stats()["first_create_s"] + clock
    return {
        "first_create_s": round(first_s - began_s, 2),
        "seconds": round(time.monotonic() - began_s, 2),
        "cpu_s": round(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system,
            2,
        ),
    }


def _do_half(ledger: Path, rows: int) -> None:
    """Copy the prediction, output and money of the one job that is done to half of the others."""
    with closing(sqlite3.connect(ledger)) as db, db:
        ((done,),) = db.execute("SELECT job_seq FROM outputs WHERE state = 'stored' LIMIT 1")
        half = f"FROM jobs WHERE state = 'pending' ORDER BY position LIMIT {rows // 2 - 1}"
        db.execute(f"CREATE TEMP TABLE half AS SELECT seq AS job_seq {half}")
        for table, own in (("predictions", {"provider_id"}), ("outputs", {"path"})):
            _multiply(db, table, done, own)
        db.execute(
            "UPDATE outputs SET prediction_seq ="
            " (SELECT seq FROM predictions AS p WHERE p.job_seq = outputs.job_seq)"
        )
        db.execute(
            "UPDATE jobs SET (state, predictions, ended_at) ="
            f" (SELECT state, predictions, ended_at FROM jobs WHERE seq = {done})"
            " WHERE seq IN (SELECT job_seq FROM half)"
        )
        db.execute(f"UPDATE budgets SET settled = settled * {rows // 2}")
        db.execute("DROP TABLE half")
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _multiply(db: sqlite3.Connection, table: str, job: int, unique: set[str]) -> None:
    names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})") if name != "seq"]
    values = {
        name: f"'{name}-' || half.job_seq" if name in unique else f"t.{name}" for name in names
    }
    values["job_seq"] = "half.job_seq"
    if "prediction_seq" in values:
        values["prediction_seq"] = "-half.job_seq"  # unique, until every prediction is there
    db.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values[n] for n in names)}"
        f" FROM half, {table} AS t WHERE t.job_seq = {job}"
    )


def _clock_of(emulator: EmulatorProcess) -> float:
    """What to add to the emulator's seconds to have this machine's monotonic clock."""
    before_s = time.monotonic()
    now_s = emulator.stats()["now_s"]
    return (before_s + time.monotonic()) / 2 - float(now_s)


def _best_s(*words: str) -> float:
    times = []
    for _ in range(_TRIES):
        began_s = time.monotonic()
        _python(*words)
        times.append(time.monotonic() - began_s)
    return min(times)


def _python(*words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, *words]
    # As it is installed: with its bytecode, whatever this machine says of writing it.
    given = {**(environ or os.environ), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
