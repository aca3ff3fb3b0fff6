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
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fluxbatch._version import __version__
from fluxbatch.export.columns import COLUMNS, ColumnType, ExportRecord, Sample
from fluxbatch.export.formats.base import Stem
from fluxbatch.export.formats.parquet import (
    PARQUET_SCHEMA_VERSION,
    require_pyarrow,
    text_column,
    write_table,
)
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft

_ABSENT: Mapping[ColumnType, Any] = {
    "text": "",
    "moment": "",
    "money": "",
    "integer": -1,
    "number": -1.0,
    "flag": False,
}


class WebDataset:
    """Borrows the images."""

    name: Final = "webdataset"
    identity: Final = (
        f"webdataset {PARQUET_SCHEMA_VERSION} of {__version__}, every value of one type"
    )
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
            _put(tar, f"{key}.json", json.dumps(_typed(named), ensure_ascii=False).encode())
            if control is not None:
                _put(tar, named["control_file_name"], self._images.control(control))
            yield named


def _typed(record: ExportRecord) -> ExportRecord:
    """*record* with a value of its column's type where one is absent.

    Readers such as `datasets` take each column's type from the first samples: null there, a text
    that comes later cannot be loaded. Absent text is empty, an absent number -1; the table beside
    the shard has nulls.
    """
    typed = text_column(record)
    for name, kind in COLUMNS.items():
        if typed[name] is None:
            typed[name] = _ABSENT.get(kind)
        elif kind == "number":
            typed[name] = float(typed[name])
    return typed


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, group and time are 0: they say nothing of the sample
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
