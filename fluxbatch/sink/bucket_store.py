"""The image store in a bucket: an object is there whole and verified, or not at all.

Owns `images/` below the store's URL, and what its errors mean to users. Temporary files stay in the
dataset's folder. An object is put in one request, whose bytes the server checks; then it is asked
what it has, and only what is the same counts as kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from fluxbatch.domain.filenames import IMAGES, sidecar_path
from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.infra.object_store import EXTRA, open_store, refusal_of, store_error_text
from fluxbatch.infra.redaction import sanitize
from fluxbatch.sink.local_store import LocalStore
from fluxbatch.sink.paths import PathRefused, image_path, written_path
from fluxbatch.sink.store import CONTROLS, PendingFile, check_stem
from fluxbatch.sink.temp_file import TempFile, WrittenFile

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OWNER = "fluxbatch.json"
"""Beside `images/`: whose they are."""
_PROBE = ".fluxbatch-probe"
_AT_ONCE = 16
_TRIES = 12
"""Of an upload that was paid for; a minute and more where nobody is there."""
_BRIEF_S = 20.0
"""How long a silent store is waited for by everybody else."""
_BRIEF_TRIES = 3
_RIGHTS = "they need to list, read, write and delete objects there"
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)


class BucketStore:
    """Objects below *url*, temporary files below *root*.

    *timeout_s* is for one try of an upload; it is repeated for twice as long.
    """

    def __init__(self, url: str, root: Path, timeout_s: float) -> None:
        self.address = f"{url}/{IMAGES}"
        self._url = url
        self._root = root
        self._timeout_s = timeout_s
        self._local = LocalStore(root)
        self._opening = Lock()
        self._opened: dict[bool, ObjectStore] = {}
        self._has_failed = False
        """The last upload did, after all patience; the next one is not waited for as long."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which has its own connections and its own credentials."""
        return BucketStore, (self._url, self._root, self._timeout_s)

    def place(self, path: str) -> str:
        return f"{self._url}/{path}"

    def file(self, path: str) -> None:
        return None

    def open(self, path: str) -> IO[bytes]:
        return io.BytesIO(self._read(image_path(path)))

    def has(self, path: str) -> bool:
        try:
            named = image_path(path)
            with self._explained(f"read {path!r}"):
                import obstore

                obstore.head(self._bucket(), named)
        except (FileNotFoundError, PathRefused):
            return False
        return True

    def paths(self) -> Iterator[str]:
        """In no order that every kind of store has."""
        with self._explained("list"):
            import obstore

            for page in obstore.list(self._bucket(), IMAGES):
                for found in page:
                    if not found["path"].rpartition("/")[2].startswith("."):
                        yield found["path"]

    def claim(self, dataset: str) -> None:
        """Leave the dataset's name beside `images/`, then write, read and delete an object.

        Without that name two datasets of one manifest would take each other's images for theirs.
        """
        mine = json.dumps({"dataset": dataset}).encode()
        try:
            self._read(OWNER)
        except FileNotFoundError:
            self._put(OWNER, mine, "application/json")
        if self._read(OWNER) != mine:
            raise ConfigError(
                f"{self._url!r} holds the images of another dataset: name another place"
                f" (sink.store), or delete {self.place(OWNER)!r} if that dataset is no more"
            )
        self._put(_PROBE, os.urandom(16), "application/octet-stream")
        self._delete([_PROBE])

    def begin(self) -> TempFile:
        return self._local.begin()

    def sweep(self) -> int:
        return self._local.sweep()

    def has_room(self, min_free: int) -> bool:
        """For temporary files; a bucket has no end."""
        return self._local.has_room(min_free)

    def keep(self, landings: Sequence[PendingFile]) -> list[WrittenFile | SinkError]:
        """Some at a time; once one has failed after all patience, the rest is not tried."""
        failed: list[SinkError] = []
        land = partial(self._land, failed)
        if len(landings) < 2:
            return [land(landing) for landing in landings]
        with ThreadPoolExecutor(min(_AT_ONCE, len(landings)), "uploads") as pool:
            return list(pool.map(land, landings))

    def put_sidecar(self, path: str, content: bytes) -> None:
        self._put(written_path(path), content, "application/json")

    def remove(self, path: str) -> None:
        self._delete([written_path(path)])

    def kept_controls(self) -> set[str]:
        with self._explained("list"):
            import obstore

            pages = obstore.list(self._bucket(), CONTROLS)
            return {found["path"].rpartition("/")[2] for page in pages for found in page}

    def keep_control(self, sha256: str, content: bytes, mime: str) -> None:
        self._put(f"{CONTROLS}/{sha256}", content, mime, is_patient=True)

    def read_kept_control(self, sha256: str) -> bytes:
        return self._read(f"{CONTROLS}/{sha256}")

    def discard(self, stem: str) -> int:
        check_stem(stem)
        start, found = f"{IMAGES}/{stem}.", list[str]()
        folder = start.rpartition("/")[0]
        with self._explained("list"):
            import obstore

            for page in obstore.list(self._bucket(), folder, offset=start, chunk_size=50):
                paths = [one["path"] for one in page if one["path"].startswith(start)]
                found += [path for path in paths if "." not in path.removeprefix(start)]
                if len(paths) < len(page):
                    break
        if found:
            self._delete(found)
        return len(found)

    def _land(self, failed: list[SinkError], landing: PendingFile) -> WrittenFile | SinkError:
        check_stem(landing.stem)
        if failed:
            return SinkError(*failed[0].args)
        path = f"{IMAGES}/{landing.stem}.{landing.extension}"
        try:
            with landing.half.written() as file:
                content = file.read()
            mime = f"image/{landing.extension.replace('jpg', 'jpeg')}"
            is_patient = not self._has_failed
            if landing.sidecar is not None:
                self._put(
                    sidecar_path(path), landing.sidecar, "application/json", is_patient=is_patient
                )
            self._put(path, content, mime, is_patient=is_patient)
        except SinkError as exc:
            self._has_failed = True
            failed.append(exc)
            return exc
        self._has_failed = False
        landing.half.discard()
        return WrittenFile(path, hashlib.sha256(content).hexdigest(), len(content))

    def _put(self, path: str, content: bytes, mime: str, *, is_patient: bool = False) -> None:
        """The store has *content* under that name, as it says itself when asked."""
        with self._explained(f"write {path!r}", is_write=True):
            import obstore

            bucket = self._bucket(is_patient=is_patient)
            kind = {"Content-Type": mime}
            # In one request: an upload in parts that is cut off leaves parts nobody sees.
            obstore.put(bucket, path, content, attributes=kind, use_multipart=False)
            head = obstore.head(bucket, path)
            if head["size"] == len(content):
                md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
                if (head["e_tag"] or "").strip('"') == md5:
                    return
                # Encrypted with a key of one's own, or no S3: the tag is not of the content.
                if bytes(obstore.get(bucket, path).bytes()) == content:
                    return
        raise SinkError(
            f"{self.place(path)!r} is not what was sent there: see who else writes to"
            " that place, and run again"
        )

    def _read(self, path: str) -> bytes:
        with self._explained(f"read {path!r}"):
            import obstore

            return bytes(obstore.get(self._bucket(), path).bytes())

    def _delete(self, paths: list[str]) -> None:
        with self._explained(f"delete {paths[0]!r}", is_write=True):
            import obstore

            obstore.delete(self._bucket(), paths)

    def _bucket(self, *, is_patient: bool = False) -> ObjectStore:
        with self._opening:
            if is_patient not in self._opened:
                brief_s, timeout_s = min(self._timeout_s, _BRIEF_S), self._timeout_s
                self._opened[is_patient] = open_store(
                    self._url,
                    timeout_s=timeout_s,
                    silence_s=timeout_s if is_patient else brief_s,
                    patience_s=2 * timeout_s if is_patient else brief_s,
                    tries=_TRIES if is_patient else _BRIEF_TRIES,
                    options=_s3_options() if self._url.startswith("s3://") else None,
                )
            return self._opened[is_patient]

    @contextmanager
    def _explained(self, doing: str, *, is_write: bool = False) -> Iterator[None]:
        """What obstore raises, as `SinkError`; a missing object, where one is read, as such."""
        try:
            from obstore.exceptions import BaseError, NotFoundError
        except ImportError:
            raise ConfigError(f"the store {self._url!r} needs obstore: {EXTRA}") from None
        try:
            yield
        except (BaseError, ValueError, OSError) as exc:
            reason, missing = str(exc), isinstance(exc, (NotFoundError, FileNotFoundError))
            if _NO_BUCKET.search(reason) or (missing and is_write):
                remedy = "there is no such bucket: make it, or mend sink.store"
            elif missing:
                raise FileNotFoundError(f"no object {doing}") from None
            elif (refusal := refusal_of(exc)) is not None:
                remedy = f"{sanitize(refusal)}; {_RIGHTS}"
            else:
                reason = sanitize(store_error_text(exc))
                remedy = f"{reason}; nothing is lost, run again once it answers"
            raise SinkError(f"cannot {doing} in the store {self._url!r}: {remedy}") from None


def _s3_options() -> dict[str, str]:
    """What the environment may say otherwise."""
    wanted = {
        "AWS_CHECKSUM_ALGORITHM": "SHA256",  # the server refuses a body that is not of this hash
        "AWS_DISABLE_BULK_DELETE": "true",  # not every S3 deletes many at once
    }
    return {name.lower(): value for name, value in wanted.items() if name not in os.environ}
