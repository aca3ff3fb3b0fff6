"""Hugging Face's imagefolder: images in folders, each folder with its metadata beside them.

`SPLIT/000000/` holds a shard: the images, `control/` with their control images, and
`metadata.parquet`, whose `file_name` and `control_file_name` become the image columns `image` and
`control`. Parquet, because a reader of CSV or JSON lines guesses a type anew in every file, and a
column that is empty in one of them then has another type than in the next.
Source: docs/design/decisions.md "Hugging Face imagefolder".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fluxbatch._version import __version__
from fluxbatch.export.columns import ExportRecord, Sample
from fluxbatch.export.formats.base import Stem
from fluxbatch.export.formats.parquet import PARQUET_SCHEMA_VERSION, require_pyarrow, write_table
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, mark_of

_MOST_FILES = 10_000
"""Of one folder: more is slow everywhere, and refused by the Hub."""


class ImageFolder:
    """Borrows the images."""

    name: Final = "imagefolder"
    identity: Final = f"imagefolder {PARQUET_SCHEMA_VERSION} of {__version__}"
    shard_size: Final = 5_000
    most: Final = _MOST_FILES - 2
    holds_images: Final = True
    needs_image: Final = True
    patterns: Final = ("*/[0-9][0-9][0-9][0-9][0-9][0-9]", ".fluxbatch/*-??????.json")
    data_files: Final = "SPLIT/**"

    def __init__(self, images: SampleImages, *, embed: bool = False) -> None:
        require_pyarrow(self.name)
        self._images = images

    def mark(self, stem: Stem) -> str:
        return mark_of(str(stem))

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        folder = f"{stem.split}/{stem.number:06d}"
        with draft.open(f"{folder}/metadata.parquet") as file:
            write_table(file, self._placed(samples, draft, folder))

    def _placed(
        self, samples: Iterable[Sample], draft: Draft, folder: str
    ) -> Iterator[ExportRecord]:
        """Each record with the names of its files, once these are written."""
        for sample in samples:
            record = sample.record
            name = f"{record['key']}.{record['format']}"
            _put(draft, f"{folder}/{name}", self._images.image(sample))
            control = None
            if sample.control is not None:
                control = f"control/{sample.control.name}"
                if f"{folder}/{control}" not in draft.files:  # many rows share one
                    _put(draft, f"{folder}/{control}", self._images.control(sample.control))
            yield {**record, "file_name": name, "control_file_name": control}


def _put(draft: Draft, name: str, data: bytes) -> None:
    with draft.open(name) as file:
        file.write(data)
