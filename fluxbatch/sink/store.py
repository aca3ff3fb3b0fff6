"""The protocol of image stores: a file is there whole, or not at all.

Owns what every store must do. All of it blocks: call it through the `to_thread` seam. Any
failure to write is a `SinkError` that names the path and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from fluxbatch.domain.filenames import is_stem
from fluxbatch.errors import SinkError
from fluxbatch.sink.temp_file import TempFile, WrittenFile

CONTROLS = "controls"
"""Beside `images/`: control images, each under the sha256 of its content."""


class PendingFile(NamedTuple):
    """A verified file on its way to its name."""

    half: TempFile
    stem: str
    extension: str
    sidecar: bytes | None = None
    """A `<stem>.json` to be there, whole, when the image is. It can be made again, so it needs
    no sync of its own: a power cut may cost it, `repair` writes it anew."""


class Images(Protocol):
    """A dataset's images as readers have them, by the ledger's paths (`images/...`). Blocks."""

    @property
    def address(self) -> str:
        """Where they are, for people: a folder or a URL."""
        ...

    def place(self, path: str) -> str:
        """Where one of them is, for people; of a path that is refused, the path and that."""

    def file(self, path: str) -> Path | None:
        """Where it is on this machine; None where it is on another, or refused."""

    def open(self, path: str) -> IO[bytes]:
        """To be read. Raises `FileNotFoundError`, another `OSError` where this one alone cannot
        be read (`PathRefused` where it may not be), `SinkError` where the store as a whole does
        not answer."""

    def has(self, path: str) -> bool:
        """Whether it is there."""
        ...

    def paths(self) -> Iterator[str]:
        """Of every file in `images/`; hidden ones are the system's own."""


class ImageStore(Images, Protocol):
    """Where a dataset's images are put. All of it blocks; a failure is a `SinkError`."""

    def claim(self, dataset: str) -> None:
        """Make sure, before anything is submitted, that images of that dataset can be kept here.

        Raises `SinkError` where they cannot, `ConfigError` where others' are.
        """

    def begin(self) -> TempFile:
        """A new temporary file, on this machine."""

    def keep(self, landings: Sequence[PendingFile]) -> list[WrittenFile | SinkError]:
        """Each under its name and durable when this returns, or why it is not; what is kept
        leaves no temporary file behind.

        A file of that name is replaced, and rightly: a name belongs to one output of one job, so
        what stands there is the same output, left by a crash before its ledger entry, or a
        corrupt one under repair.
        """

    def put_sidecar(self, path: str, content: bytes) -> None:
        """Write *content* to *path*, which is there whole or as it was before."""

    def remove(self, path: str) -> None:
        """Remove what the ledger does not name."""

    def kept_controls(self) -> set[str]:
        """The sha256 of every control image that is kept here, for machines that lack its file."""
        ...

    def keep_control(self, sha256: str, content: bytes, mime: str) -> None:
        """Keep a control image under the name of its content; durable when this returns."""

    def read_kept_control(self, sha256: str) -> bytes:
        """What is kept under that name, unchecked; raises `FileNotFoundError`, `SinkError`."""
        ...

    def discard(self, stem: str) -> int:
        """Remove the output of that name, whatever its type; how many files.

        For what a crash left without a ledger entry: it may come back as another type.
        """

    def sweep(self) -> int:
        """Remove what a killed process left half written; how many files.

        Only while this process holds the dataset.
        """

    def has_room(self, min_free: int) -> bool:
        """Whether at least *min_free* bytes are free for us."""


def check_stem(stem: str) -> None:
    """Raise `ValueError` unless *stem* is a plain relative name that stays in its folder."""
    if not is_stem(stem):
        raise ValueError(f"{stem!r} is no plain relative name")
