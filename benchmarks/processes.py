"""The heavy verbs in two processes beside one: a dataset of 20,000 images of 512 px.

`python -m benchmarks.processes [IMAGES [FOLDER]]`; in FOLDER the dataset stays and is taken again.
Each verb runs in turns, in one process and in two, three pairs: the ratio is the median's. What it
wrote is compared byte for byte. `two programs` is how much of its time alone a program that only
decodes takes with its twin beside it, halved: what two cores of this machine can give at best.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from PIL import Image

from benchmarks.side import Load, engine_settings, run_engine, serve, tell

_IMAGES = 20_000
_SIZE = 512
_PAIRS = 3
_DECODED = 300
_VERBS = {
    "export": ["export", "{dataset}", "--format", "webdataset", "--to", "{to}"],
    "report": ["report", "{dataset}", "--to", "{to}"],
    "repair": ["repair", "{dataset}"],
}


def main(images: int = _IMAGES, kept: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as passing:
        folder = kept or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "made").exists():
            _make(folder, images)
        rows: dict[str, dict[str, object]] = {"two programs": {"ratio": _two_programs(folder)}}
        for verb, words in _VERBS.items():
            rows[verb] = _pairs(folder, words)
    tell("processes", rows, keep=images == _IMAGES)


def _make(folder: Path, images: int) -> None:
    """Bought from the emulator, without limits."""
    load = Load(
        images, slots=200, creates=0, emulator=("--duration", "0.05"), image_size=_SIZE,
        kind="webp",
    )  # fmt: skip
    with serve(load) as emulator:
        run_engine(load, at=(emulator, folder))
    (folder / "made").touch()


def _pairs(folder: Path, words: list[str]) -> dict[str, object]:
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for pair in range(_PAIRS):
        written = {}
        for processes in (1, 2) if pair % 2 == 0 else (2, 1):
            to = folder / f"to-{processes}"
            shutil.rmtree(to, ignore_errors=True)
            seconds[processes].append(_seconds(folder, words, to, processes))
            written[processes] = _content(to)
        assert written[1] == written[2], words
    return {
        "one_s": round(median(seconds[1]), 1),
        "two_s": round(median(seconds[2]), 1),
        "ratio": round(median(b / a for a, b in zip(seconds[1], seconds[2], strict=True)), 2),
    }


def _seconds(folder: Path, words: list[str], to: Path, processes: int) -> float:
    named = [word.format(dataset=folder / "dataset", to=to) for word in words]
    began_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "fluxbatch", *named, "--processes", str(processes), "--quiet"],
        env={
            **os.environ,
            **engine_settings(Load(1), str(folder)),
            "EACHLABS_API_KEY": "engine-0",
            "EACHLABS_BASE_URL": "http://127.0.0.1:9/v1",
            "XDG_CACHE_HOME": str(folder / f"cache-{processes}"),
        },
        check=True,
    )
    took_s = time.monotonic() - began_s
    shutil.rmtree(folder / f"cache-{processes}", ignore_errors=True)
    return took_s


def _content(root: Path) -> dict[str, str]:
    """Every file's hash by its path; what tells the time it was made at apart."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix not in {".html", ".json"}
    }


def _two_programs(folder: Path) -> float:
    image = next((folder / "dataset" / "images").glob("*.webp")).read_bytes()
    context = get_context("spawn")
    alone, beside = list[float](), list[float]()
    for _ in range(_PAIRS):
        for programs, taken in ((1, alone), (2, beside)):
            with context.Pool(programs) as pool:
                taken.append(max(pool.map(_decode, [image] * programs, chunksize=1)))
    ratio: float = median(beside) / 2 / median(alone)
    return round(ratio, 2)


def _decode(image: bytes) -> float:
    began_s = time.monotonic()
    for _ in range(_DECODED):
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
    return time.monotonic() - began_s


if __name__ == "__main__":
    arguments = iter(sys.argv[1:])
    main(int(next(arguments, _IMAGES)), *map(Path, arguments))
