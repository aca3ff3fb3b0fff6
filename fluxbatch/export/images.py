"""The files of a sample, read wherever they are and proven to be what the ledger says.

Owns reading: an image that is missing or another than the ledger's ends the export, because a
dataset with a silent hole is worse than none. A control image is the user's own file, or its copy
where machines share the dataset; where neither is there any more, it is left out and counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.export.columns import Control, Sample
from fluxbatch.export.output_dir import ExportFailed
from fluxbatch.infra.image_type import HEAD_BYTES, sniff
from fluxbatch.sink import Images as Store
from fluxbatch.sink import PathRefused, image_path

_PLAIN_PATH = re.compile(r"images/[\w-][\w.-]*", re.ASCII).fullmatch
"""As nearly all are."""
_CONTROLS_KNOWN = 10_000
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
"""The provider takes these three."""


class SampleImages:
    """Reads from one dataset, whose control images are *controls*, its images in their store.

    *typed* is the dataset as it is typed into a shell.
    """

    def __init__(self, controls: ControlFiles, typed: str) -> None:
        self.controls = controls
        self.store: Store = controls.store
        self._typed = typed
        self._ending_of = lru_cache(_CONTROLS_KNOWN)(self._ending)
        self.controls_missing = 0

    def refuse_strays(self, images: Iterable[str | None]) -> None:
        """Raise `ExportFailed` where the ledger names a path that is none of an image."""
        for image in images:
            if image is None or _PLAIN_PATH(image):
                continue
            try:
                image_path(image)
            except PathRefused as exc:
                raise ExportFailed(f"the image {image!r} is refused: {exc.strerror}") from exc

    def image(self, sample: Sample) -> bytes:
        """The bytes of the sample's image; raise `ExportFailed` naming the file and the remedy."""
        assert sample.image is not None
        remedy = f"fetch it again for nothing:  fluxbatch repair {self._typed}"
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
        ending = self._ending_of(control.path, control.sha256)
        if ending is None:
            self.controls_missing += 1
            return None
        return replace(control, ending=ending)

    def control(self, control: Control) -> bytes:
        """Its bytes; raise `ExportFailed` where they have changed since they were `seen`."""
        try:
            return self.controls.read(control.path, control.sha256)
        except OSError as exc:
            raise ExportFailed(
                f"the control image {control.path!r} changed during the export, or is not seen by"
                " every machine that works on it; run it again"
            ) from exc

    def _ending(self, path: str, sha256: str) -> str | None:
        """By the first bytes, for a name may lie; None where it is not there as it was."""
        try:
            head = self.controls.read(path, sha256)[:HEAD_BYTES]
        except OSError:
            return None
        return _ENDINGS.get(sniff(head) or "")
