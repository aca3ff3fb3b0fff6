"""The bytes of a manifest file: their hash, and the check that they stay the same.

Owns the one path from disk to lines. The file is read twice, first for its hash and then for
its rows, and never held whole; a file that changed in between would make rows that no
identity stands for, so that is an error. Knows nothing of CSV, JSON or columns.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from fluxbatch.errors import ManifestError
from fluxbatch.infra.open_databases import is_of_open_database
from fluxbatch.manifest.readers.compression import Readable, Unpacked, packing_of

MAX_LINE_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 256 * 1024
_HEAD_BYTES = 4096

PARQUET = b"PAR1"

_OTHER_KINDS = (
    (codecs.BOM_UTF16_LE, "is UTF-16 text; save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "is UTF-16 text; save it as UTF-8"),
    (b"PK\x03\x04", "is a zip file or a spreadsheet; save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "is a spreadsheet; save it as CSV (UTF-8)"),
    (b"%PDF", "is a PDF; a manifest is a table of rows"),
    (
        b"\x89PNG",
        "is an image; a manifest is a table with a column control_image, or a folder of images",
    ),
    (
        b"\xff\xd8\xff",
        "is an image; a manifest is a table with a column control_image, or a folder of images",
    ),
)


class FileSource:
    """One file of lines. Opened by each pass anew, held open by none."""

    def __init__(self, path: Path, *, of_any_kind: bool = False) -> None:
        """Read the file once for its hash; raise `ManifestError` if it cannot be a manifest.

        *of_any_kind*: whoever reads it knows what it is; it need be no text.
        """
        self.path = path
        self.bytes_read = 0
        """By the pass over the lines that is under way, for progress."""
        digest = hashlib.sha256()
        with self._open() as file:
            self._stamp = _stamp(os.fstat(file.fileno()))
            self.head = file.read(_HEAD_BYTES)
            digest.update(self.head)
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
            if _stamp(os.fstat(file.fileno())) != self._stamp:
                self._changed()
        self.sha256 = digest.hexdigest()
        self.bytes = self._stamp[1]
        if not self.bytes:
            raise ManifestError(f"manifest {str(path)!r} is empty; it needs at least one row")
        self._packing = packing_of(self.head)
        if self._packing is not None:
            with self._open() as file:
                self.head = Unpacked(file, self._packing, self._name, self.bytes).read(_HEAD_BYTES)
        if not self.head.startswith(PARQUET):
            if not of_any_kind:
                _refuse_other_kinds(path, self.head)
        elif self._packing is not None:
            raise ManifestError(f"{self._name} is a Parquet file packed once more; unpack it")

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Each line's number, from 1, and its bytes without the line end.

        That is a newline, or the lone carriage return of old spreadsheets where the head has no
        newline.

        Of a packed file, those within. None stands for a line of more than 16 MiB. Raises
        `ManifestError` when the file is no longer what was hashed, at the latest after the last
        line.
        """
        with self._unchanged() as file:
            number = 0
            unfinished: list[bytes] = []
            unfinished_bytes = 0
            strip_bom = True
            line_end = b"\r" if b"\r" in self.head and b"\n" not in self.head else b"\n"
            while block := file.read(_BLOCK_BYTES):
                if strip_bom:
                    block, strip_bom = block.removeprefix(codecs.BOM_UTF8), False
                first, *others = block.split(line_end)
                unfinished_bytes += len(first)
                if unfinished_bytes <= MAX_LINE_BYTES:
                    unfinished.append(first)
                else:
                    unfinished.clear()
                if not others:
                    continue
                number += 1
                yield number, b"".join(unfinished) if unfinished else None
                last = others.pop()
                for line in others:
                    number += 1
                    yield number, line
                unfinished, unfinished_bytes = [last], len(last)
            if unfinished_bytes:
                yield number + 1, b"".join(unfinished) if unfinished else None

    def content(self, most: int) -> bytes:
        """All of it, for formats that cannot be read in part; raises `ManifestError`."""
        with self._unchanged() as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ManifestError(
                f"{self._name} is larger than {most // 2**20} MiB; save it as JSONL, which is"
                " read line by line"
            )
        return content

    @contextmanager
    def _unchanged(self) -> Iterator[Readable]:
        """The bytes, unpacked; raise `ManifestError` when the file is no longer what was hashed."""
        self.bytes_read = 0
        digest = hashlib.sha256()
        with self._open() as file:
            if _stamp(os.fstat(file.fileno())) != self._stamp:
                self._changed()
            seen = _Seen(file, digest, self)
            if self._packing is None:
                yield seen
            else:
                yield Unpacked(seen, self._packing, self._name, self.bytes)
            while seen.read(_BLOCK_BYTES):
                pass
        if digest.hexdigest() != self.sha256:
            self._changed()

    @property
    def _name(self) -> str:
        return f"manifest {str(self.path)!r}"

    def _open(self) -> BinaryIO:
        try:
            found = self.path.stat()
            mode = found.st_mode
            if is_of_open_database(found):
                raise ManifestError(f"manifest {str(self.path)!r} is a database in use here")
            if stat.S_ISREG(mode):
                return self.path.open("rb")
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            if isinstance(exc, FileNotFoundError) and self.path.is_symlink():
                reason = f"it is a link to {os.readlink(self.path)!r}, which is not there"
            raise ManifestError(f"cannot read manifest {str(self.path)!r}: {reason}") from exc
        if stat.S_ISDIR(mode):
            raise ManifestError(f"manifest {str(self.path)!r} is a folder; name a file in it")
        raise ManifestError(
            f"manifest {str(self.path)!r} is no regular file and cannot be read twice; "
            "save it to one first"
        )

    def _changed(self) -> NoReturn:
        raise ManifestError(
            f"manifest {str(self.path)!r} changed while it was read; "
            "run again once it is written to its end"
        )


class _Seen:
    """A file that knows how far it was read, and keeps the digest of that."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash, source: FileSource) -> None:
        self._file = file
        self._digest = digest
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        self._source.bytes_read += len(block)
        return block


def _stamp(stats: os.stat_result) -> tuple[int, int, int]:
    return stats.st_ino, stats.st_size, stats.st_mtime_ns


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    for magic, what in _OTHER_KINDS:
        if head.startswith(magic):
            raise ManifestError(f"manifest {str(path)!r} {what}")
    if b"\0" in head and not _may_be_text(head):
        raise ManifestError(f"manifest {str(path)!r} is not text; a manifest is a table of rows")


def _may_be_text(head: bytes) -> bool:
    try:
        # A character cut in two at the end of the head is no error.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return head.count(b"\0") < len(head) / 8  # UTF-16 without its mark is half zeros
