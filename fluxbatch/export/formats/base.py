"""A shard: some samples in a row, gathered on the disk and then written in one format.

Owns what every format must do, and the spool in which a shard grows: memory never holds more than
one record, however big a shard and however many splits there are. A spool's hash says what its
shard will be made of before anything is written.
"""

from __future__ import annotations

import hashlib
import marshal
import shutil
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from fluxbatch.export.columns import COLUMNS, Control, ExportRecord, Sample
from fluxbatch.export.output_dir import Draft, explained

_MARSHAL = 2
"""The last format of `marshal` in which equal values are equal bytes. A third of the time of JSON;
nobody but this export reads it."""
_LENGTHS = struct.Struct("!QQ")


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


class LineFormat(ABC):
    """A format whose files are a heading and a line for each sample."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As in `--format`, and how its files end."""

    @property
    @abstractmethod
    def heading(self) -> bytes:
        """What every file begins with."""

    @abstractmethod
    def line(self, record: ExportRecord) -> bytes:
        """Its end included."""

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        with draft.open(f"{stem}.{self.name}") as file:
            file.write(self.heading)
            file.writelines(self.line(sample.record) for sample in samples)


class SpooledShard(NamedTuple):
    """A shard that is whole on the disk, before it is written in its format; any process that sees
    the disk can read it."""

    path: Path
    stem: Stem
    samples: int
    made_of: str
    """A hash of everything the shard is made of."""

    def read(self) -> Iterator[Sample]:
        """Every sample, in order; not of a `LineSpool`."""
        with self.path.open("rb") as file:
            while lengths := file.read(_LENGTHS.size):
                of_body, of_lay = _LENGTHS.unpack(lengths)
                *values, image = marshal.loads(file.read(of_body))
                lay = marshal.loads(file.read(of_lay))
                record = dict(zip(COLUMNS, values, strict=True))
                yield Sample(record, image, Control(*lay) if lay else None)

    def write(self, made: ExportFormat, draft: Draft) -> None:
        """The files of *made* with every sample in them."""
        if not isinstance(made, LineFormat):
            made.write(self.read(), draft, self.stem)
            return
        with draft.open(f"{self.stem}.{made.name}") as file, self.path.open("rb") as gathered:
            file.write(made.heading)
            shutil.copyfileobj(gathered, file)


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
        body = marshal.dumps([*sample.record.values(), sample.image], _MARSHAL)
        # Where a control image lay is of no matter to what is made of it.
        self._digest.update(body)
        self._digest.update(f"{control and control.name}\n".encode())
        lay = marshal.dumps(
            (control.path, control.sha256, control.ending) if control is not None else None,
            _MARSHAL,
        )
        with explained(self._path):
            self._file.write(_LENGTHS.pack(len(body), len(lay)) + body + lay)
        self.samples += 1

    def sealed(self) -> SpooledShard:
        """It is whole: what was added lies on the disk, until this is closed."""
        with explained(self._path):
            self._file.close()
        return SpooledShard(self._path, self.stem, self.samples, self._digest.hexdigest())

    def close(self) -> None:
        with suppress(OSError):  # a full disk is reported already; nothing here is wanted any more
            self._file.close()
        self._path.unlink(missing_ok=True)


class LineSpool(Spool):
    """A shard of lines on its way: they are gathered as they will stand in the file."""

    def __init__(self, path: Path, stem: Stem, identity: str, lines: LineFormat) -> None:
        super().__init__(path, stem, identity)
        self._lines = lines

    def add(self, sample: Sample) -> None:
        line = self._lines.line(sample.record)
        self._digest.update(line)
        with explained(self._path):
            self._file.write(line)
        self.samples += 1


def open_spool(made: ExportFormat, path: Path, stem: Stem) -> Spool:
    """An empty spool for a shard of *made*."""
    if isinstance(made, LineFormat):
        return LineSpool(path, stem, made.identity, made)
    return Spool(path, stem, made.identity)
