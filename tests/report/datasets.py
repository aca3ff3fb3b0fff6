"""Datasets made by the ledger's own operations, thousands of outputs in seconds."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

import fluxbatch
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import ControlFile, FailureClass, Job, Quality, Row, job_id
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.operations.runs import OpenRun
from fluxbatch.ledger.writer import Operation, R
from tests.ledger.support import DAY, MODEL, PRICE, URL, Books, provider_id

E = PredictionEvent
PHOTOS = sorted(
    path
    for path in (Path(fluxbatch.__file__).parent / "demo" / "photos").iterdir()
    if path.suffix in {".jpg", ".png", ".webp"}
)
SETTINGS = json.dumps({"limits": {"creates": 100, "window": 60.0}, "budget": {"per_run": "200.00"}})


class Bulk(Books):
    """`Books` of which everything is one transaction, unchecked until its end."""

    def do(self, operation: Operation[R]) -> R:
        return operation.apply(self.db)


@dataclass(frozen=True, slots=True)
class Made:
    """A dataset being made, in its folder."""

    folder: Folder
    books: Bulk

    def begin(self, rows: Sequence[Row], run: str = "20261122-090000-ab12") -> None:
        seq = self.books.import_rows(run, rows)
        operation = OpenRun(
            self.books.now(), run, seq, MODEL, self.books.caps, DAY, SETTINGS, "0.1", "host", 7
        )
        self.books.run = self.books.do(operation)

    def image(self, job_seq: int, file: Path, size: tuple[int, int], **seen: Any) -> str:
        """The job bought, made and stored as a link to *file*; answers the image's path."""
        output_seq = self.books.generate(job_seq).outputs[0].output_seq
        path = f"images/{output_seq:06}{file.suffix}"
        os.link(file, self.folder.root / path)
        name = sha256(path.encode()).hexdigest()
        mime = f"image/{file.suffix[1:]}"
        stored = StoreOutput(
            self.books.now(), output_seq, path, name, file.stat().st_size, mime, *size, **seen
        )
        self.books.do(stored)
        return path

    def fail(self, job_seq: int, failure: FailureClass, reason: str) -> None:
        prediction = self.books.run_one(job_seq)
        self.books.move(prediction, E.FAILED, failure=failure, reason=reason)


@contextmanager
def making(root: Path) -> Iterator[Made]:
    folder = Folder(root)
    folder.images.mkdir(parents=True)
    with closing(SqliteDatabase(folder.ledger)) as db:
        db.begin()
        made = Made(folder, Bulk(db))
        yield made
        made.books.end_run(ExitCode.SOME_FAILED, "every job has its end")
        db.commit()
        db.checkpoint()


def row(number: int, given: dict[str, Any], photo: Path | None = None, **more: Any) -> Row:
    control = None
    if photo is not None:
        content = photo.read_bytes()
        name = sha256(content).hexdigest()
        control = ControlFile(str(photo), name, len(content), "image/jpeg")
        given = {**given, "control_image": f"sha256:{name}"}
    job = Job(job_id(MODEL, given), MODEL, given)
    name = more.pop("user_id", f"row-{number:05}")
    return Row(number, number + 1, name, {}, job, control=control, **more)


_INKS = (("#160b2e", "#e0644f", "#ffe9c2"), ("#04202c", "#2f8f9d", "#f2efd3"),
         ("#101a10", "#5f8f4a", "#f4f6d8"), ("#20140a", "#b0702f", "#fdeccb"),
         ("#12122b", "#5b62c4", "#eef0ff"), ("#240b18", "#c23a5c", "#ffe4da"))  # fmt: skip


def small_images(folder: Path, side: int = 256) -> list[tuple[Path, tuple[int, int]]]:
    """Every photo in every pair of inks, as webp."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for photo in PHOTOS:
        with Image.open(photo) as image:
            grey = ImageOps.autocontrast(ImageOps.contain(image.convert("L"), (side, side)))
        for number, (dark, middle, light) in enumerate(_INKS):
            path = folder / f"{photo.stem}-{number}.webp"
            ImageOps.colorize(grey, dark, light, middle).save(path, quality=70)
            made.append((path, grey.size))
    return made


def large_dataset(root: Path, outputs: int) -> Folder:
    """A sweep of *outputs* images over guidance and steps, some failed, some noted."""
    subjects = ("a bronze statue of a cat", "a cathedral of glass at dawn", "a coffee cup on mars",
                "a rocket made of folded paper", "an astronaut in oil, thick strokes")  # fmt: skip
    axes = [(guidance, steps) for guidance in (2.5, 5, 10, 20, 40) for steps in (20, 28, 36, 50)]
    rows = []
    for number in range(1, outputs + 1):
        guidance, steps = axes[number % len(axes)]
        subject = subjects[number // len(axes) % len(subjects)]
        given = {
            "prompt": f"{subject}, study {number // len(axes):03}",
            "guidance": guidance,
            "num_inference_steps": steps,
        }
        photo = PHOTOS[number // len(axes) % len(PHOTOS)]
        rows.append(row(number, given, photo, axes={"guidance": guidance, "steps": steps}))
    pictures = small_images(root.parent / "pictures")
    with making(root) as made:
        made.begin(rows)
        for number in range(1, outputs + 1):
            if number % 97 == 0:
                made.fail(number, FailureClass.FILTERED, "NSFW content detected in the output")
                continue
            if number % 211 == 0:
                made.fail(number, FailureClass.INVALID_INPUT, "control image: 415 unsupported type")
                continue
            file, size = pictures[(number // len(axes) % 4) * len(_INKS) + number % len(_INKS)]
            notes = (Quality.BLACK,) if number % 613 == 0 else ()
            made.image(number, file, size, quality=notes)
    return Folder(root)


def png(side: int = 32, colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


__all__ = ["PRICE", "URL", "Made", "large_dataset", "making", "png", "provider_id", "row"]
