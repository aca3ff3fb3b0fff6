"""The reading commands, and a run with nothing to do, on a ledger of a million done jobs.

`python -m benchmarks.million [ROWS [FOLDER]]`; in FOLDER the ledger stays and is taken again. Each
command is a process of its own, imports and all: the quickest of three, of exports and the report
the only one. One job is bought; its prediction, output and history are copied to all others, each
with a fingerprint of its own, and no image but the first lies on the disk.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from benchmarks.side import Load, engine_settings, run_engine, serve, tell, write_manifest

_ROWS = 1_000_000
_LOAD = Load(1, creates=0, emulator=("--duration", "0.05"))
_EXPORTS = ("csv", "jsonl", "parquet")
_LONG = (*_EXPORTS, "report")
_TRIES = 3


def main(rows: int = _ROWS, kept: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as passing:
        folder = kept or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "made").exists():
            # Apart: a command's memory is counted from that of the process which starts it.
            making = get_context("spawn").Process(target=_make, args=(folder, rows))
            making.start()
            making.join()
            if making.exitcode:
                raise SystemExit("the ledger could not be made")
        told = {name: _best(name, words, folder) for name, words in _commands(folder).items()}
    for name in _EXPORTS:
        told[name]["rows_per_s"] = round(rows / told[name]["seconds"])
    tell("million", told, keep=rows == _ROWS)


def _commands(folder: Path) -> dict[str, list[str]]:
    dataset, manifest = str(folder / "dataset"), str(folder / "manifest.jsonl")
    exports = {
        name: ["export", dataset, "--format", name, "--to", str(folder / f"to-{name}")]
        for name in _EXPORTS
    }
    return {
        "run": ["run", manifest, "--out", dataset, "--quiet"],
        "status": ["status", dataset],
        "plan": ["plan", manifest, "--out", dataset],
        "ls": ["ls", dataset],
        "show": ["show", dataset, "#500"],
        "why": ["why", dataset, "#500"],
        **exports,
        "report": ["report", dataset],
    }


def _best(name: str, words: list[str], folder: Path) -> dict[str, float]:
    """The quickest try: others use the machine too, and that says nothing of the command."""
    tries = 1 if name in _LONG else _TRIES
    return min((_measured(words, folder) for _ in range(tries)), key=lambda told: told["seconds"])


def _measured(words: list[str], folder: Path) -> dict[str, float]:
    """One command's time, from its start to its end, and the most memory it took."""
    environ = {
        **os.environ,
        **engine_settings(Load(1), str(folder)),
        "EACHLABS_API_KEY": "engine-0",
        "EACHLABS_BASE_URL": "http://127.0.0.1:9/v1",
        "PYTHONDONTWRITEBYTECODE": "",  # as it is installed: with its bytecode
    }
    for name in _EXPORTS:
        _remove(folder / f"to-{name}")
    program = [sys.executable, "-m", "fluxbatch", *words]
    began_s = time.monotonic()
    with (
        (folder / "talk").open("wb") as talk,
        subprocess.Popen(program, env=environ, stdout=subprocess.DEVNULL, stderr=talk) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took_s = time.monotonic() - began_s
    if process.returncode:
        raise SystemExit(f"{words}: exit {process.returncode}: {(folder / 'talk').read_text()}")
    unit = 1 if sys.platform == "darwin" else 1_024
    return {
        "seconds": round(took_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "max_rss_mb": round(usage.ru_maxrss * unit / 2**20),
    }


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _make(folder: Path, rows: int) -> None:
    """A dataset of *rows* done jobs of which one was bought."""
    manifest = write_manifest(folder / "manifest.jsonl", rows, ids=True)
    with serve(_LOAD) as emulator:
        run_engine(Load(rows, creates=0, limit=1), manifest, (emulator, folder))
    with closing(sqlite3.connect(folder / "dataset" / "ledger.sqlite")) as db, db:
        db.create_function("fingerprint", 1, _fingerprint)
        db.execute("PRAGMA cache_size = -256000")
        ((done,),) = db.execute("SELECT job_seq FROM outputs WHERE state = 'stored' LIMIT 1")
        others = "(SELECT seq FROM jobs WHERE state = 'pending') AS other"
        ((creates, images),) = db.execute(
            "SELECT (SELECT MAX(seq) FROM predictions), (SELECT MAX(seq) FROM outputs)"
        )
        own: dict[str, dict[str, str]] = {
            "predictions": {
                "seq": f"{creates} + other.seq",
                "provider_id": "provider_id || '-' || other.seq",
            },
            "outputs": {
                "seq": f"{images} + other.seq",
                "prediction_seq": f"{creates} + other.seq",
                "path": "path || '-' || other.seq",
                "sha256": "substr(replace(fingerprint(-other.seq), '-', '') || sha256, 1, 64)",
                "dhash": "fingerprint(other.seq)",
            },
            "history": {"seq": "NULL"},
        }
        for table, values in own.items():
            _copy(db, table, {"job_seq": "other.seq", **values}, f"{others}", done)
        for subject, owner in (("job", "job_seq"), ("prediction", f"{creates} + job_seq")):
            db.execute(
                f"UPDATE history SET subject_seq = {owner}"
                f" WHERE subject = '{subject}' AND job_seq != {done}"
            )
        db.execute(
            "UPDATE jobs SET (state, predictions, ended_at) ="
            f" (SELECT state, predictions, ended_at FROM jobs WHERE seq = {done})"
        )
        db.execute(f"UPDATE budgets SET settled = settled * {rows}")
        db.execute("UPDATE runs SET ended_at = started_at")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (folder / "made").touch()


def _copy(
    db: sqlite3.Connection, table: str, values: Mapping[str, str], others: str, done: int
) -> None:
    names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    copied = ", ".join(values.get(name, f"t.{name}") for name in names)
    db.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {copied}"
        f" FROM {others}, {table} AS t WHERE t.job_seq = {done} ORDER BY other.seq, t.seq"
    )


def _fingerprint(number: int) -> str:
    """Of an image like no other, as `sink.quality` writes it."""
    digits = hashlib.sha256(str(number).encode()).hexdigest()
    return f"{digits[:16]}-{digits[16:40]}"


if __name__ == "__main__":
    words = iter(sys.argv[1:])
    main(int(next(words, _ROWS)), *map(Path, words))
