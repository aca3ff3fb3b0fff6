"""WebDataset: uncompressed tar shards, one sample an image.

A sample's members stand together, always in this order: `KEY.png` (or jpg, webp), `KEY.txt` with
the prompt, `KEY.json` with the record, and `KEY.control.png` where there is one. Beside a shard
lie its records as `.parquet` and its figures as `_stats.json`; the latter is written last and says
that the shard is done. Source: docs/design/decisions.md "WebDataset".
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import Final

from fluxbatch._version import __version__
from fluxbatch.export.columns import ExportRecord, Sample
from fluxbatch.export.formats.base import Stem
from fluxbatch.export.formats.parquet import (
    PARQUET_SCHEMA_VERSION,
    require_pyarrow,
    text_column,
    write_table,
)
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft


class WebDataset:
    """Borrows the images."""

    name: Final = "webdataset"
    identity: Final = f"webdataset {PARQUET_SCHEMA_VERSION} of {__version__}"
    shard_size: Final = 1_000
    most: Final = None
    holds_images: Final = True
    needs_image: Final = True
    patterns: Final = ("*-??????.tar", "*-??????.parquet", "*-??????_stats.json")
    data_files: Final = "SPLIT-*.tar"

    def __init__(self, images: SampleImages, *, embed: bool = False) -> None:
        require_pyarrow(self.name)
        self._images = images

    def mark(self, stem: Stem) -> str:
        return f"{stem}_stats.json"

    def write(self, samples: Iterable[Sample], draft: Draft, stem: Stem) -> None:
        with (
            draft.open(f"{stem}.tar") as shard,
            draft.open(f"{stem}.parquet") as table,
            tarfile.open(fileobj=shard, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            write_table(table, self._packed(samples, tar))

    def _packed(self, samples: Iterable[Sample], tar: tarfile.TarFile) -> Iterator[ExportRecord]:
        """Each record with the names of its members, once these are in the shard."""
        for sample in samples:
            key, control = sample.record["key"], sample.control
            named = {
                **sample.record,
                "file_name": f"{key}.{sample.record['format']}",
                "control_file_name": f"{key}.control.{control.ending}" if control else None,
            }
            _put(tar, named["file_name"], self._images.image(sample))
            _put(tar, f"{key}.txt", (named["prompt"] or "").encode())
            _put(tar, f"{key}.json", json.dumps(text_column(named), ensure_ascii=False).encode())
            if control is not None:
                _put(tar, named["control_file_name"], self._images.control(control))
            yield named


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, group and time are 0: they say nothing of the sample
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
