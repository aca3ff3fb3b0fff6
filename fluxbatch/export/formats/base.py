"""A shard: some samples in a row, gathered on the disk and then written in one format.

Owns what every format must do, and the spool in which a shard grows: memory never holds more than
one page of records, however big a shard and however many splits there are. A spool's hash says
what its shard will be made of before anything is written.
"""

from __future__ import annotations

import hashlib
import marshal
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from fluxbatch.export.columns import COLUMNS, Control, ExportRecord, Sample, SamplePage
from fluxbatch.export.output_dir import Draft, explained

_MARSHAL = 2
"""The last format of `marshal` in which equal values are equal bytes. A third of the time of JSON;
nobody but this export reads it."""
_LENGTH = struct.Struct("!Q")


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

    def lines(self, page: SamplePage) -> bytes:
        """A line for each sample of *page*, where all at once is quicker than one by one."""
        return b"".join(map(self.line, page.records()))

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        with draft.open(f"{stem}.{self.name}") as file:
            file.write(self.heading)
            file.writelines(self.line(sample.record) for sample in samples)


@runtime_checkable
class TableFormat(Protocol):
    """A format of columns that, unless it holds images, needs no more of a sample than its
    values."""

    def block(self, page: SamplePage) -> bytes:
        """The columns of *page*, the same bytes for the same values."""
        ...

    def write_blocks(self, blocks: Iterable[bytes], draft: Draft, stem: Stem) -> None:
        """As `write`, of pages that are blocks already."""
        ...


def write_pages(made: ExportFormat, pages: Iterable[SamplePage], draft: Draft, stem: Stem) -> None:
    """The files of *made* with every sample of *pages* in them, in the quickest way it has."""
    if isinstance(made, LineFormat):
        with draft.open(f"{stem}.{made.name}") as file:
            file.write(made.heading)
            file.writelines(map(made.lines, pages))
    elif isinstance(made, TableFormat) and not made.holds_images:
        made.write_blocks(map(made.block, pages), draft, stem)
    else:
        made.write(chain.from_iterable(page.samples() for page in pages), draft, stem)


class SpooledShard(NamedTuple):
    """A shard that is whole on the disk, before it is written in its format; any process that sees
    the disk can read it."""

    path: Path
    stem: Stem
    samples: int
    made_of: str
    """A hash of everything the shard is made of."""

    def read(self) -> Iterator[Sample]:
        """Every sample, in order; of a plain `Spool` alone."""
        for block in self._blocks():
            bodies, controls = marshal.loads(block)
            for body, control in zip(bodies, controls, strict=True):
                *values, image = marshal.loads(body)
                record = dict(zip(COLUMNS, values, strict=True))
                yield Sample(record, image, Control(*control) if control else None)

    def write(self, made: ExportFormat, draft: Draft) -> None:
        """The files of *made* with every sample in them."""
        if isinstance(made, LineFormat):
            draft.take(f"{self.stem}.{made.name}", self.path)
        elif isinstance(made, TableFormat) and not made.holds_images:
            made.write_blocks(self._blocks(), draft, self.stem)
        else:
            made.write(self.read(), draft, self.stem)

    def _blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while length := file.read(_LENGTH.size):
                yield file.read(*_LENGTH.unpack(length))


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

    def add(self, page: SamplePage) -> None:
        self._put(self._spooled(page))
        self.samples += len(page)

    def _put(self, block: bytes) -> None:
        with explained(self._path):
            self._file.write(block)

    def _spooled(self, page: SamplePage) -> bytes:
        values = zip(*page.columns.values(), page.images, strict=True)
        bodies = [marshal.dumps(list(of_sample), _MARSHAL) for of_sample in values]
        # Where a control image lay is of no matter to what is made of it.
        names = [b"None\n" if one is None else f"{one.name}\n".encode() for one in page.controls]
        self._digest.update(b"".join(chain.from_iterable(zip(bodies, names, strict=True))))
        controls = [one and (one.path, one.sha256, one.ending) for one in page.controls]
        block = marshal.dumps((bodies, controls), _MARSHAL)
        return _LENGTH.pack(len(block)) + block

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
    """A shard of lines on its way: it is gathered as the file that it will be."""

    def __init__(self, path: Path, stem: Stem, identity: str, lines: LineFormat) -> None:
        super().__init__(path, stem, identity)
        self._lines = lines
        self._put(lines.heading)

    def _spooled(self, page: SamplePage) -> bytes:
        lines = self._lines.lines(page)
        self._digest.update(lines)
        return lines


class BlockSpool(Spool):
    """A shard of a table on its way: its columns page by page, so that none of its values has to be
    made again when it is written."""

    def __init__(self, path: Path, stem: Stem, identity: str, table: TableFormat) -> None:
        super().__init__(path, stem, identity)
        self._table = table

    def _spooled(self, page: SamplePage) -> bytes:
        block = self._table.block(page)
        self._digest.update(block)
        return _LENGTH.pack(len(block)) + block


def open_spool(made: ExportFormat, path: Path, stem: Stem) -> Spool:
    """An empty spool for a shard of *made*."""
    if isinstance(made, LineFormat):
        return LineSpool(path, stem, made.identity, made)
    if isinstance(made, TableFormat) and not made.holds_images:
        return BlockSpool(path, stem, made.identity, made)
    return Spool(path, stem, made.identity)
