"""One program against one emulator, measured from outside: the engine or the plain script.

Owns starting both, the emulator's own books, and how a result is written down.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import plot
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.planning.plan import Plan, make_plan
from tests.support.emulator import EmulatorProcess, emulator_process


@dataclass(frozen=True, slots=True)
class Load:
    """What both programs are given to do."""

    jobs: int
    slots: int = 10
    creates: int = 100
    emulator: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    """The engine's, by their names in the environment."""
    limit: int | None = None
    """The engine's creates at most; None: a create for each job."""
    keys: int = 1
    """The engine's, each with limits of its own."""
    image_size: int = 64
    kind: str = "jpg"
    """Of the outputs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One program's figures: its own, and the emulator's."""

    own: Mapping[str, Any]
    stats: Mapping[str, Any]
    plan: Plan | None = None
    """What `plan` says of as many new jobs, now that this run was seen; of the engine alone."""

    def planned(self) -> dict[str, object]:
        """The plan beside what the run took."""
        assert self.plan is not None
        return {
            "planned_s": round(self.plan.seconds, 1),
            "planned_of_actual": round(self.plan.seconds / self.own["seconds"], 3),
            "binding": self.plan.binding_limit,
        }


@contextmanager
def serve(load: Load) -> Iterator[EmulatorProcess]:
    """The emulator of one program."""
    size = str(load.image_size)
    flags = ("--image-size", size, "--rate", str(load.creates), "--concurrent", str(load.slots))
    with emulator_process(*flags, *load.emulator) as emulator:
        yield emulator


def write_manifest(
    path: Path, rows: int, *, ids: bool = False, first: int = 0, kind: str = "jpg"
) -> Path:
    """A JSONL manifest of *rows* different jobs."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(first, first + rows):
            row = {
                "prompt": f"engine {number}",
                "control_image": "https://photos.invalid/a.jpg",
                "output_format": kind,
                "seed": number,
            }
            file.write(json.dumps({"id": f"row-{number}", **row} if ids else row) + "\n")
    return path


def run_engine(
    load: Load, manifest: Path | None = None, at: tuple[EmulatorProcess, Path] | None = None
) -> Measured:
    """`python -m benchmarks.engine_side`: the engine with its ledger, files and decoding.

    *at* names the emulator and the folder of its dataset; else both are made for this run alone.
    """
    if at is None:
        with serve(load) as emulator, tempfile.TemporaryDirectory() as made:
            return run_engine(load, manifest, (emulator, Path(made)))
    emulator, folder = at
    manifest = manifest or write_manifest(folder / "manifest.jsonl", load.jobs, kind=load.kind)
    words = [manifest, folder, emulator.base_url, load.limit or "", load.keys]
    command = ["benchmarks.engine_side", *map(str, words)]
    own = _run(command, engine_settings(load, str(folder)))
    more = _plan_of_more(load, folder) if load.limit is None else None
    return Measured(own, emulator.stats(), more)


def _plan_of_more(load: Load, folder: Path) -> Plan:
    manifest = write_manifest(folder / "more.jsonl", load.jobs, first=load.jobs)
    limits = {"creates": load.creates or 10**6, "concurrent": load.slots}
    settings = load_settings(None, {"limits": limits}, {})
    return make_plan(settings, manifest, Folder(folder / "dataset"), accounts=load.keys)


def engine_settings(load: Load, folder: str) -> dict[str, str]:
    """The engine's environment for *load*, apart from the user's own state."""
    return {
        "FLUXBATCH_LIMITS__CREATES": str(load.creates or 10**6),
        "FLUXBATCH_LIMITS__CONCURRENT": str(load.slots),
        "FLUXBATCH_SINK__MIN_FREE": "0",
        "XDG_STATE_HOME": folder,
        **dict(load.settings),
    }


def run_script(
    load: Load, poll_s: float = 2.0, *, emulator: EmulatorProcess | None = None
) -> Measured:
    """`plain_script.py` on the same load."""
    if emulator is None:
        with serve(load) as made:
            return run_script(load, poll_s, emulator=made)
    words = [emulator.base_url, load.jobs, load.slots, load.creates or 10**6, poll_s, load.kind]
    command = ["benchmarks.plain_script", *map(str, words)]
    return Measured(_run(command, {}), emulator.stats())


def _run(command: Sequence[str], settings: Mapping[str, str]) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(ended.stderr[-2_000:])
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def _machine() -> str:
    """With what others asked of it meanwhile: seconds mean little where that is above its cores."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}"


def tell(name: str, rows: Mapping[str, Mapping[str, object]], *, keep: bool = True) -> None:
    """Print a table and one JSON line; *keep* the line, with date and machine, and its plot."""
    names = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"\n{name}")
    print(" " * 14 + "".join(f"{key:>18}" for key in names))
    for label, row in rows.items():
        print(f"{label:<14}" + "".join(f"{row.get(key, '')!s:>18}" for key in names))
    line = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        **rows,
    }
    print(json.dumps(line))
    if keep:
        plot.keep(line)
