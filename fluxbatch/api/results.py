"""The rows of a dataset as plain values: what each asked for, and the images there are of it.

Owns the fields that are promised to programs; what they hold is the ledger's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from pathlib import Path
from typing import IO, Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.dataset.ratings import ImageRating, with_rating
from fluxbatch.domain.money import DollarsOf, Micros
from fluxbatch.export.columns import INVALID, Sample, results_with_samples
from fluxbatch.export.filter import EVERYTHING, Filter
from fluxbatch.ledger.queries.results import RowResult, StoredOutput, row_results
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest
from fluxbatch.sink import Images

_Bytes = bytes
_Opener = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Image:
    """One image, in the dataset's folder or in its object store."""

    path: Path | None
    """None in an object store."""
    place: str
    """The path, or the URL in the object store."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    prediction_id: str | None
    seed: int | None
    rating: ImageRating
    """What people have said of it."""
    _open: _Opener = field(repr=False, compare=False)

    def read(self) -> _Bytes:
        """Its bytes, wherever it is.

        Raises `OSError` where it cannot be read, `SinkError` where the store does not answer.
        """
        with self._open() as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a manifest, and what there is of it."""

    number: int
    line: int
    id: str | None
    """As the row gave it."""
    status: str
    """`done`, `failed`, `invalid`, or not ended: `pending`, `active`, `generated`."""
    failure: str | None
    reason: str | None
    job_id: str | None
    model: str | None
    input: Mapping[str, Any]
    meta: Mapping[str, Any]
    axes: Mapping[str, Any]
    cost: Micros
    """Micro-dollars, of every prediction of its job."""
    cost_is_estimated: bool
    images: tuple[Image, ...]
    reroll: int = 0
    """Which of its row's rerolls it is, from 1; 0: the row's own job."""

    cost_usd = DollarsOf("cost")

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the images that are on this machine."""
        return tuple(image.path for image in self.images if image.path is not None)

    @property
    def prediction_id(self) -> str | None:
        """Of the latest prediction that gave an image."""
        return self.images[-1].prediction_id if self.images else None


def results_in(folder: Folder, chosen: Filter) -> Iterator[Result]:
    """The latest manifest's rows that fit, each with those of its images that fit; then their
    rerolls, each as its row once more."""
    with folder.reader() as db:
        latest = latest_manifest(db)
        if latest is None:
            return
        store, ratings = open_images(folder, db), ratings_of(folder)
        results: Iterator[tuple[RowResult, list[Sample]]]
        if chosen is EVERYTHING:
            results = ((row, []) for row in row_results(db, latest.seq))
        else:
            results = results_with_samples(db, latest.seq)
        for row, samples in results:
            outputs = row.outputs
            if chosen is not EVERYTHING:
                records = [with_rating(sample.record, ratings) for sample in samples]
                fits = [chosen.matches(record) for record in records]
                if not any(fits):
                    continue
                outputs = tuple(compress(outputs, fits))
            images = tuple(_image(one, store, ratings.get(one.sha256)) for one in outputs)
            yield _result(row, images)


def _result(row: RowResult, images: tuple[Image, ...]) -> Result:
    return Result(
        number=row.number,
        line=row.line,
        id=row.user_id,
        status=row.state.value if row.state is not None else INVALID,
        failure=row.failure.value if row.failure is not None else None,
        reason=row.reason,
        job_id=row.job_id.hex() if row.job_id is not None else None,
        model=row.model,
        input=row.input,
        meta=row.meta,
        axes=row.axes,
        cost=row.cost,
        cost_is_estimated=row.cost_is_estimated,
        images=images,
        reroll=row.reroll,
    )


def _image(output: StoredOutput, store: Images, rating: ImageRating | None) -> Image:
    return Image(
        path=store.file(output.path),
        place=store.place(output.path),
        sha256=output.sha256,
        bytes=output.bytes,
        mime=output.mime,
        width=output.width,
        height=output.height,
        prediction_id=output.prediction_id,
        seed=output.seed,
        rating=rating or ImageRating(),
        _open=partial(store.open, output.path),
    )
