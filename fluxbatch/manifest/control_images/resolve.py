"""Control images: a URL as it is, or a local file known by its bytes.

Owns what may stand in a file input. An https URL is passed on and never fetched here; a local file
must be there, be small enough and really be an image, and stands in the job as the sha256 of
its bytes, so a copy under another name is the same job. What is in an object store or on plain http
is fetched, and then a local file. Each is read once a run.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import struct
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fluxbatch.domain.job import UPLOAD_PREFIX, ControlFile
from fluxbatch.infra.image_type import HEAD_BYTES, MAX_FETCHED_BYTES, is_complete, sniff
from fluxbatch.infra.open_databases import is_of_open_database
from fluxbatch.infra.ssrf_guard import is_this_machine
from fluxbatch.manifest.control_images.errors import Unreadable
from fluxbatch.manifest.control_images.fetch import RemoteImages, is_remote
from fluxbatch.models import quoted

MOST_PIXELS = 89_478_485
"""Where Pillow itself begins to warn of bombs."""

LEDGER = "ledger.sqlite"
"""A folder with this file is a dataset."""
_FILES_KEPT = 10_000
_HASHES_KEPT = 100_000
_HINTS = 20
_HINTS_FROM = 1000
_ORIENTATION = 0x0112
_UNSETTLED_NS = 2_000_000_000
_BLOCK_BYTES = 1024 * 1024

_is_plain_https = re.compile(r"https://(?:[a-z0-9_-]+\.)+[a-z]+/[!-~]*", re.ASCII).fullmatch
"""The everyday form; every other goes the long way round."""
_is_address = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII).match


# The plug-ins themselves: `Image.open` would warn of large images on its way.
_PLUGINS: dict[str, type[ImageFile]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}


class BadControl(Exception):
    """A control image that cannot be used; turned into a bad row by the manifest."""


class FileStamp(NamedTuple):
    """A file as `stat` sees it; while this is the same, so are its bytes."""

    path: str
    size: int
    mtime_ns: int
    inode: int


class FileHash(NamedTuple):
    """What a whole reading of a file found."""

    sha256: str
    mime: str
    notes: tuple[str, ...] = ()


class FileHashes(Protocol):
    """Remembers what files hold, so that the next run need not read them."""

    def get(self, stamp: FileStamp, /) -> FileHash | None: ...

    def put(self, stamp: FileStamp, found: FileHash, /) -> None: ...


class MemoryFileHashes:
    """`FileHashes` for one process: the last 100,000 files."""

    def __init__(self) -> None:
        self._found: OrderedDict[FileStamp, FileHash] = OrderedDict()

    def get(self, stamp: FileStamp, /) -> FileHash | None:
        found = self._found.get(stamp)
        if found is not None:
            self._found.move_to_end(stamp)
        return found

    def put(self, stamp: FileStamp, found: FileHash, /) -> None:
        self._found[stamp] = found
        if len(self._found) > _HASHES_KEPT:
            self._found.popitem(last=False)


class ControlImages:
    """Turns what rows give for a file input into what their jobs are named by."""

    def __init__(
        self,
        folder: Path,
        hashes: FileHashes,
        *,
        allow_http: bool,
        remote: RemoteImages | None = None,
    ) -> None:
        """*remote* None: nothing is fetched, and what would have to be is refused."""
        self._folder = folder
        self._hashes = hashes
        self._allow_http = allow_http
        self._remote = remote
        self._files: OrderedDict[str, ControlFile | str] = OrderedDict()
        """By the text rows give: the file, or why it cannot be used."""
        self._hints_left = _HINTS

    def look_ahead(self, texts: Iterable[object]) -> None:
        """Fetch what *texts*, soon to be resolved, name elsewhere, some at a time."""
        if self._remote is not None:
            trimmed = [_trimmed(text) for text in texts if type(text) is str]
            found = [text for text in trimmed if is_remote(text)]
            self._remote.fetch_ahead([t for t in dict.fromkeys(found) if t not in self._files])

    def resolve(self, given: str) -> tuple[str, ControlFile | None]:
        """The input's text, and the file if it is local; raise `BadControl`."""
        if _is_plain_https(given) and ".localhost/" not in given:
            return given, None
        given = _trimmed(given)
        is_fetched = self._remote is not None and is_remote(given)
        address = None if is_fetched else _is_address(given)
        if address and address[1].lower() != "file":
            return self._url(given, address[1].lower()), None
        found = self._files.get(given)
        if found is None:
            found = self._files[given] = self._file(given)
            if len(self._files) > _FILES_KEPT:
                self._files.popitem(last=False)
        if isinstance(found, str):
            raise BadControl(found)
        return UPLOAD_PREFIX + found.sha256, found

    def _url(self, given: str, scheme: str) -> str:
        shown = quoted(given)
        if scheme == "http":
            if not self._allow_http:
                raise BadControl(f"{shown} is plain http, which the provider refuses; use https")
        elif scheme != "https":
            raise BadControl(f"{shown} is a {scheme} address; give an https URL or a local file")
        try:
            host = urlsplit(given).hostname
        except ValueError:
            host = None
        if host and not self._allow_http and is_this_machine(host):
            raise BadControl(
                f"{shown} names this machine, which the provider cannot reach; give the local file"
            )
        if not host or any(mark.isspace() for mark in given):
            raise BadControl(f"{shown} is not a valid URL (spaces are written %20)")
        return given

    def _file(self, given: str) -> ControlFile | str:
        if given[:5].lower() == "data:":
            return (
                f"{quoted(given[:30])} is a data URI, which the provider refuses; "
                "save the image to a file and give its path"
            )
        if given.startswith(UPLOAD_PREFIX):
            return f"{quoted(given)} is a hash; give the file's path or an https URL"
        try:
            if self._remote is not None and is_remote(given):
                return self._read(self._remote.fetch(given), given)
            return self._read(self._path(given), given)
        except Unreadable as exc:
            shown = quoted(given) if "@" not in given else "the address"
            return f"cannot fetch {shown}: {exc}; mend it, or give a local file"
        except BadControl as exc:
            return str(exc)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            return f"cannot read {quoted(given)}: {reason}"

    def _path(self, given: str) -> Path:
        if given[:7].lower() == "file://":
            parts = urlsplit(given)
            if parts.netloc not in {"", "localhost"}:
                raise BadControl(f"{quoted(given)} is on another machine; write file:///path")
            given = unquote(parts.path)
        path = Path(given)
        if given.startswith("~"):
            try:
                path = path.expanduser()
            except RuntimeError:
                raise BadControl(f"{quoted(given)} names a user there is not") from None
        return Path(os.path.abspath(self._folder / path))

    def _read(self, path: Path, given: str) -> ControlFile:
        try:
            stats = path.stat()
        except FileNotFoundError:
            raise BadControl(self._not_there(path, given)) from None
        if not stat.S_ISREG(stats.st_mode):
            what = "a folder" if stat.S_ISDIR(stats.st_mode) else "not a regular file"
            raise BadControl(f"{quoted(given)} is {what}; give an image file")
        _refuse_size(stats.st_size, given)
        stamp = FileStamp(str(path), stats.st_size, stats.st_mtime_ns, stats.st_ino)
        found = self._hashes.get(stamp)
        if found is None:
            if is_of_open_database(stats):  # before it is opened: closing it would cost its locks
                raise BadControl(f"{quoted(given)} is a database in use here, and no image")
            found = _look_into(path, stamp, given)
            # A file written this moment may change again within one tick of its clock.
            if time.time_ns() - stamp.mtime_ns > _UNSETTLED_NS:
                self._hashes.put(stamp, found)
        return ControlFile(str(path), found.sha256, stamp.size, found.mime, found.notes)

    def _not_there(self, path: Path, given: str) -> str:
        if path.is_symlink():
            return f"{quoted(given)} is a link to {os.readlink(path)!r}, which is not there"
        try:
            with os.scandir(path.parent) as entries:
                # The first few only: a folder may be huge, and every row may be wrong.
                self._hints_left -= 1
                neighbours = [e.name for e in islice(entries, _HINTS_FROM * (self._hints_left > 0))]
        except OSError:
            return f"{quoted(given)} does not exist, nor does its folder {str(path.parent)!r}"
        near = difflib.get_close_matches(path.name, neighbours, n=1, cutoff=0.75)
        hint = f"; did you mean {near[0]!r}?" if near else f" in {str(path.parent)!r}"
        return f"{quoted(given)} does not exist{hint}"


def _trimmed(given: str) -> str:
    """An address without the blanks that spreadsheets leave around it; a file's name as it is."""
    text = given.strip()
    return text if text != given and _is_address(text) else given


def anchored(given: str, folder: Path) -> str:
    """*given*, absolute where it is a relative file of *folder*."""
    is_other = "://" in given[:16] or given.startswith(("data:", UPLOAD_PREFIX, "~", "/"))
    return given if is_other or not given else str(folder / given)


def _refuse_size(size: int, given: str) -> None:
    if size == 0:
        raise BadControl(f"{quoted(given)} is an empty file")
    if size > MAX_FETCHED_BYTES:
        raise BadControl(
            f"{quoted(given)} has {size / 1e6:.1f} MB; a control image may have at most "
            f"{MAX_FETCHED_BYTES // 1_000_000} MB"
        )


def _look_into(path: Path, stamp: FileStamp, given: str) -> FileHash:
    """Read the whole file once: its hash, and what it is by its content."""
    with path.open("rb") as file:
        mime = sniff(file.read(HEAD_BYTES))
        if mime not in _PLUGINS:
            raise BadControl(f"{quoted(given)} is not a JPEG, PNG or WebP image by its content")
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns, after.st_ino) != stamp[1:]:
            raise BadControl(f"{quoted(given)} changed while it was read; run again")
        file.seek(0)
        # Png is left to its checksums, which tell more.
        if mime != "image/png" and not is_complete(mime, file):
            raise BadControl(f"{quoted(given)} is cut short: its end is missing")
        notes = _looked_at(file, mime, given)
    return FileHash(digest.hexdigest(), mime, notes)


def _looked_at(file: BinaryIO, mime: str, given: str) -> tuple[str, ...]:
    """What should be known of it; raise `BadControl` where it is broken.

    By its header and checksums; the pixels are decoded when it is uploaded.
    """
    try:
        image = _PLUGINS[mime](file)
        width, height = image.size
        notes = tuple(_notes(image))
        image.verify()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError) as exc:
        raise BadControl(f"{quoted(given)} is a broken {mime}: {exc}") from None
    if width * height > MOST_PIXELS:
        raise BadControl(f"{quoted(given)} has {width}x{height} pixels, more than {MOST_PIXELS:,}")
    return notes


def _notes(image: ImageFile) -> Iterator[str]:
    if getattr(image, "is_animated", False):
        yield "is animated: the model may take its first frame alone"
    if image.mode == "CMYK":
        yield "is CMYK: its colours may come out otherwise; save it as RGB"
    # A png is decoded whole to find any, and is hardly ever turned so.
    if image.format != "PNG" and image.getexif().get(_ORIENTATION, 1) != 1:
        yield "is turned by its EXIF data: the model may take it unturned; save it turned"
