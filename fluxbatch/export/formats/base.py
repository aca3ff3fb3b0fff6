"""A shard: some samples in a row, gathered on the disk and then written in one format.

Owns what every format must do, and the spool in which a shard grows: memory never holds more than
one record, however big a shard and however many splits there are. A spool's hash says what its
shard will be made of before anything is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from fluxbatch.export.columns import Control, Sample
from fluxbatch.export.output_dir import Draft, explained


@dataclass(frozen=True, slots=True)
class Stem:
    """Which shard of which split."""

    split: str
    number: int

    def __str__(self) -> str:
        return f"{self.split}-{self.number:06d}"


class ExportFormat(Protocol):
    """How samples become files."""

    @property
    def name(self) -> str:
        """As in `--format`."""
        ...

    @property
    def identity(self) -> str:
        """All that changes the bytes besides the samples."""
        ...

    @property
    def shard_size(self) -> int | None:
        """Samples in a shard unless the user says otherwise; None: all of them."""
        ...

    @property
    def most(self) -> int | None:
        """Samples a shard can hold at all."""
        ...

    @property
    def holds_images(self) -> bool:
        """Whether the images themselves are in it."""
        ...

    @property
    def needs_image(self) -> bool:
        """Whether a row without an image cannot be among the others."""
        ...

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names of its shards and marks, as globs."""
        ...

    @property
    def data_files(self) -> str:
        """Where a reader finds a split, with `SPLIT` in place of its name."""
        ...

    def mark(self, stem: Stem) -> str:
        """The mark that a shard is done."""
        ...

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        """The shard's files, the same bytes for the same samples."""
        ...


class Spool:
    """A shard on its way."""

    def __init__(self, path: Path, stem: Stem, identity: str) -> None:
        self.stem = stem
        self.samples = 0
        self._path = path
        self._digest = hashlib.sha256(f"{identity}\n{stem}\n".encode())
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    def add(self, sample: Sample) -> None:
        control = sample.control
        body = f"[{json.dumps(sample.record)}, {json.dumps(sample.image)}"
        lay = json.dumps(asdict(control) if control is not None else None)
        # Where a control image lay is of no matter to what is made of it.
        self._digest.update(f"{body}, {control and control.name}\n".encode())
        with explained(self._path):
            self._file.write(f"{body}, {lay}]\n".encode())
        self.samples += 1

    @property
    def made_of(self) -> str:
        """A hash of everything the shard is made of."""
        return self._digest.hexdigest()

    def read(self) -> Iterator[Sample]:
        """Every sample, in order."""
        with explained(self._path):
            self._file.flush()
        with self._path.open("rb") as lines:
            for line in lines:
                record, image, control = json.loads(line)
                yield Sample(record, image, Control(**control) if control else None)

    def close(self) -> None:
        with suppress(OSError):  # a full disk is reported already; nothing here is wanted any more
            self._file.close()
        self._path.unlink(missing_ok=True)
