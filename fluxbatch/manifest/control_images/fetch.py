"""The fetch of control images that are neither local files nor https URLs, kept as files.

Owns the folder they are kept in. A file there is named by its address and by what its server calls
this content (ETag, size, time), so a changed object is another file, and one that is there is never
fetched again. Every reader asks the server whether it has changed.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbatch.errors import SinkError
from fluxbatch.infra.atomic_file import atomic_file
from fluxbatch.infra.image_type import MAX_FETCHED_BYTES
from fluxbatch.infra.object_store import EXTRA, is_denied, open_store, refusal_of, store_error_text
from fluxbatch.manifest.control_images.errors import CONTROL_BLOCK_BYTES, Unreadable

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import HTTPStore, ObjectStore

_AT_ONCE = 8
_TIMEOUT_S = 180.0
_PATIENCE_S = 20.0
_TRIES_A_SERVER = 3
"""So many silences in a row, and a server is not asked again in this pass."""
_HALF_FILES_KEPT_S = 3600.0
_SETTLED_S = 1_000_000_000.0
"""The time of every file here: it never changes, so its hash may be remembered at once."""
_is_address = re.compile(r"(http|s3|gs)://+([^/?#]*)([^#]*)", re.IGNORECASE).match


class RemoteImages:
    """Fetches into the folder *place*, which is made when it is needed.

    *anywhere*: they may be at private addresses, as for a provider on this machine.
    """

    def __init__(self, place: Path, *, anywhere: bool) -> None:
        self._place = place
        self._anywhere = anywhere
        self._stores: dict[str, ObjectStore | HTTPStore] = {}
        self._silences: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ahead: dict[str, Path | Unreadable] = {}
        self._is_swept = False

    def fetch_ahead(self, addresses: Collection[str]) -> None:
        """Fetch them some at a time, for `fetch` to have at hand."""
        self._ahead = {}
        if len(addresses) > 1:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="controls") as pool:
                self._ahead = dict(zip(addresses, pool.map(self._outcome, addresses), strict=True))

    def fetch(self, address: str) -> Path:
        """The file of what is at an s3, gs or http *address* now.

        Raises `Unreadable` where it cannot be had, `SinkError` where it cannot be written.
        """
        outcome = self._ahead.pop(address, None) or self._outcome(address)
        if isinstance(outcome, Unreadable):
            raise outcome
        return outcome

    def _outcome(self, address: str) -> Path | Unreadable:
        found = _is_address(address)
        if found is None or "@" in found[2] or not found[2] or found[3] in {"", "/"}:
            reason = "the address of an image is wanted, without a user or a password"
            return Unreadable(reason, is_its_own=True)
        scheme, host = found[1].lower(), found[2]
        server = f"{scheme}://{host}"
        if self._silences[server] >= _TRIES_A_SERVER:
            return Unreadable(f"{server} did not answer other rows either", is_its_own=False)
        try:
            if scheme == "http":
                path = self._of_web(f"{server}{found[3]}")
            else:
                path = self._of_store(server, address[found.start(3) + 1 :])
        except Unreadable as exc:
            if not exc.is_its_own:
                self._silences[server] += 1
            return exc
        self._silences[server] = 0
        return path

    def _of_web(self, url: str) -> Path:
        from fluxbatch.manifest.control_images.http import (
            opened,  # its imports are only for those who need it
        )

        with opened(url, anywhere=self._anywhere) as page:
            _refuse_size(page.size)
            if not page.version:
                return self._keep(None, page.blocks(), url)
            path = self._path(url, page.version)
            return path if _is_whole(path, page.size) else self._keep(path, page.blocks(), url)

    def _of_store(self, server: str, key: str) -> Path:
        if key.startswith("/") or key.endswith("/"):  # obstore would drop it and read another
            raise Unreadable("its key has an empty part", is_its_own=True)
        with _store_errors():
            import obstore

            store = self._store(server)
            meta = obstore.head(store, key)
            _refuse_size(meta["size"])
            path = self._path(f"{server}/{key}", _version(meta))
            if _is_whole(path, meta["size"]):
                return path
            got = obstore.get(store, key)
            path = self._path(f"{server}/{key}", _version(got.meta))
        return self._keep(path, _blocks_of(got), key)

    def _store(self, server: str) -> ObjectStore | HTTPStore:
        with self._lock:
            if server not in self._stores:
                store = open_store(server, timeout_s=_TIMEOUT_S, patience_s=_PATIENCE_S)
                self._stores[server] = store
            return self._stores[server]

    def _path(self, address: str, version: str) -> Path:
        digest = hashlib.sha256(f"{address}\n{version}".encode()).hexdigest()
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", address.partition("?")[0].rpartition("/")[2])
        return self._place / f"{digest[:32]}-{name[-80:]}"

    def _keep(self, path: Path | None, blocks: Iterable[bytes], address: str) -> Path:
        """Write *blocks* to *path*; None: to a name by what they are."""
        try:
            self._make_place()
            with atomic_file(self._place) as half:
                for block in _bounded(blocks):
                    half.write(block)
                path = path or self._path(address, half.sha256)
                half.commit(path, mtime_s=_SETTLED_S)
        except OSError as exc:
            place = str(self._place)
            raise SinkError(f"cannot keep control images in {place!r}: {exc.strerror}") from exc
        return path

    def _make_place(self) -> None:
        """The folder, without the temporary files that a killed process has left in it."""
        with self._lock:
            if self._is_swept:
                return
            self._place.mkdir(parents=True, exist_ok=True)
            for half in self._place.glob("*.part"):
                with suppress(FileNotFoundError):
                    if half.stat().st_mtime < time.time() - _HALF_FILES_KEPT_S:
                        half.unlink()
            self._is_swept = True


def is_remote(given: str) -> bool:
    """Whether *given* is an address that is fetched."""
    return given[:7].lower().startswith(("http://", "s3://", "gs://"))


@contextmanager
def _store_errors() -> Iterator[None]:
    """What obstore raises, as `Unreadable`."""
    try:
        from obstore.exceptions import BaseError, NotFoundError
    except ImportError:
        raise Unreadable(
            f"it is in an object store; {EXTRA} to fetch it", is_its_own=True
        ) from None
    try:
        yield
    except (NotFoundError, FileNotFoundError):  # which of them depends on the call
        raise Unreadable("there is no such object", is_its_own=True) from None
    except (BaseError, ValueError, OSError) as exc:
        its_own = isinstance(exc, ValueError) or is_denied(exc)
        raise Unreadable(refusal_of(exc) or store_error_text(exc), is_its_own=its_own) from None


def _blocks_of(got: GetResult) -> Iterator[bytes]:
    with _store_errors():
        for block in got.stream(min_chunk_size=CONTROL_BLOCK_BYTES):
            yield bytes(block)


def _version(meta: ObjectMeta) -> str:
    marks = (meta["e_tag"], meta["version"], meta["size"], meta["last_modified"])
    return "\n".join(str(mark) for mark in marks)


def _is_whole(path: Path, size: int | None) -> bool:
    """Whether it is there, and as it was written."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_mtime == _SETTLED_S and size in {None, found.st_size}


def _refuse_size(size: int | None) -> None:
    if size is not None and size > MAX_FETCHED_BYTES:
        raise Unreadable(
            f"it has {size / 1e6:.1f} MB; a control image may have at most "
            f"{MAX_FETCHED_BYTES // 1_000_000} MB",
            is_its_own=True,
        )


def _bounded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    got = 0
    for block in blocks:
        got += len(block)
        _refuse_size(got if got > MAX_FETCHED_BYTES else None)
        yield block
