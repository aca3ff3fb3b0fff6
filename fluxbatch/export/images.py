"""The files of a sample, read wherever they are and proven to be what the ledger says.

Owns reading: an image that is missing or another than the ledger's ends the export, because a
dataset with a silent hole is worse than none. A control image is the user's own file; where it
has changed or gone since, it is left out and counted.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fluxbatch.export.columns import Control, Sample
from fluxbatch.export.output_dir import ExportFailed
from fluxbatch.infra.image_type import HEAD_BYTES, MAX_FETCHED_BYTES, sniff
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.sink import Images as Store
from fluxbatch.sink import PathRefused, image_path

_PLAIN_PATH = re.compile(r"images/[\w-][\w.-]*", re.ASCII).fullmatch
"""As nearly all are."""
_CONTROLS_KNOWN = 10_000
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
"""The provider takes these three."""


class SampleImages:
    """Reads from one dataset, whose images are in *store*."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store = store
        self._root = root
        self._is_whole = lru_cache(_CONTROLS_KNOWN)(_is_whole)
        self.controls_missing = 0

    def refuse(self, sample: Sample) -> None:
        """Raise `ExportFailed` where the ledger names a path that is none of an image."""
        if sample.image is None or _PLAIN_PATH(sample.image):
            return
        try:
            image_path(sample.image)
        except PathRefused as exc:
            raise ExportFailed(f"the image {sample.image!r} is refused: {exc.strerror}") from exc

    def image(self, sample: Sample) -> bytes:
        """The bytes of the sample's image; raise `ExportFailed` naming the file and the remedy."""
        assert sample.image is not None
        remedy = f"fetch it again for nothing:  fluxbatch repair {self._root}"
        try:
            with self.store.open(sample.image) as file:
                data = file.read()
        except PathRefused as exc:
            raise ExportFailed(f"the image {sample.image!r} is refused: {exc.strerror}") from exc
        except OSError as exc:
            why = exc.strerror or exc
            place = self.store.place(sample.image)
            raise ExportFailed(f"cannot read {place!r}: {why}; {remedy}") from exc
        if hashlib.sha256(data).hexdigest() != sample.record["file_sha256"]:
            place = self.store.place(sample.image)
            raise ExportFailed(f"{place!r} is not the file the ledger knows; {remedy}")
        return data

    def seen(self, control: Control | None) -> Control | None:
        """*control* with its ending; None where the file is no more what it was."""
        if control is None:
            return None
        ending = self._is_whole(control.path, control.sha256)
        if ending is None:
            self.controls_missing += 1
            return None
        return replace(control, ending=ending)

    def control(self, control: Control) -> bytes:
        """Its bytes; raise `ExportFailed` where they have changed since they were `seen`."""
        data = _read(control.path)
        if data is None or hashlib.sha256(data).hexdigest() != control.sha256:
            raise ExportFailed(
                f"the control image {control.path!r} changed during the export, or is not seen by"
                " every machine that works on it; run it again"
            )
        return data


def _is_whole(path: str, sha256: str) -> str | None:
    data = _read(path)
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        return None
    return _ending(data[:HEAD_BYTES])


def _ending(head: bytes) -> str | None:
    """By the first bytes; a name may lie."""
    return _ENDINGS.get(sniff(head) or "")


def _read(path: str) -> bytes | None:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FETCHED_BYTES + 1)
    except OSError:
        return None
    return data if len(data) <= MAX_FETCHED_BYTES else None
