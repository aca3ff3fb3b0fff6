"""The heavy verbs on two cores beside one: a dataset of 20,000 images of 512 px.

`python -m benchmarks.processes [IMAGES [PAIRS [FOLDER]]]`; in FOLDER the dataset stays and is taken
again. Each verb runs in turns: in one process that is held on one core, as it is by default, and in
two processes; medians are told, and the ratio is of two processes to one core. What it wrote is
compared byte for byte. `two programs` is how much of its time alone a program that only
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
_PAIRS = 1
"""A pair takes minutes, in which what others ask of the machine evens out."""
_WAYS: dict[str, list[str]] = {"one_core_s": [], "one_s": [], "two_s": ["--processes", "2"]}
_DECODED = 300
_TRIES = 3
_VERBS = {
    "export": ["export", "{dataset}", "--format", "webdataset", "--to", "{to}"],
    "report": ["report", "{dataset}", "--to", "{to}"],
    "repair": ["repair", "{dataset}"],
}


def main(images: int = _IMAGES, pairs: int = _PAIRS, kept: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as passing:
        folder = kept or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "made").exists():
            _make(folder, images)
        rows: dict[str, dict[str, object]] = {"two programs": {"ratio": _two_programs(folder)}}
        for verb, words in _VERBS.items():
            rows[verb] = _pairs(folder, words, pairs)
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


def _pairs(folder: Path, words: list[str], pairs: int) -> dict[str, object]:
    seconds: dict[str, list[float]] = {name: [] for name in _WAYS}
    for pair in range(pairs):
        written = {}
        for name in _WAYS if pair % 2 == 0 else reversed(_WAYS):
            to = folder / "to"
            shutil.rmtree(to, ignore_errors=True)
            seconds[name].append(_seconds(folder, words, to, name))
            written[name] = _content(to)
        assert len(set(written.values())) == 1, words
    medians = {name: median(taken) for name, taken in seconds.items()}
    return {
        **{name: round(taken, 1) for name, taken in medians.items()},
        "ratio": round(medians["two_s"] / medians["one_core_s"], 2),
    }


def _seconds(folder: Path, words: list[str], to: Path, way: str) -> float:
    named = [word.format(dataset=folder / "dataset", to=to) for word in words]
    cores = os.sched_getaffinity(0)
    if way == "one_core_s":
        os.sched_setaffinity(0, {min(cores)})
    try:
        began_s = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "fluxbatch", *named, "--quiet", *_WAYS[way]],
            env={
                **os.environ,
                **engine_settings(Load(1), str(folder)),
                "EACHLABS_API_KEY": "engine-0",
                "EACHLABS_BASE_URL": "http://127.0.0.1:9/v1",
                "XDG_CACHE_HOME": str(folder / "cache"),
            },
            stdout=subprocess.DEVNULL,
            check=True,
        )
        took_s = time.monotonic() - began_s
    finally:
        os.sched_setaffinity(0, cores)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return took_s


def _content(root: Path) -> str:
    """The hash of every file below it by its path; what tells when it was made apart."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in {".html", ".json"}:
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _two_programs(folder: Path) -> float:
    image = next((folder / "dataset" / "images").glob("*.webp")).read_bytes()
    context = get_context("spawn")
    alone, beside = list[float](), list[float]()
    for _ in range(_TRIES):
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
    images, pairs = int(next(arguments, _IMAGES)), int(next(arguments, _PAIRS))
    main(images, pairs, *map(Path, arguments))
