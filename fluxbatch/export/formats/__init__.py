"""The export formats by name: a new one is a file here and a line in `EXPORT_FORMATS`.

Owns how a name becomes a format. Imports a format's module when it is asked for, so that the
command line can list the names for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from fluxbatch.errors import ConfigError

if TYPE_CHECKING:
    from fluxbatch.export.formats.base import ExportFormat
    from fluxbatch.export.images import SampleImages

EXPORT_FORMATS: Mapping[str, str] = {
    "jsonl": "jsonl.Jsonl",
    "csv": "csv.Csv",
    "parquet": "parquet.Parquet",
    "imagefolder": "imagefolder.ImageFolder",
    "webdataset": "webdataset.WebDataset",
}
"""Each name's module and class; called with the dataset's images and whether to embed them."""


def open_format(name: str, images: SampleImages, *, embed: bool) -> ExportFormat:
    """The format *name*; raises `ConfigError` for one that there is not."""
    if name not in EXPORT_FORMATS:
        raise ConfigError(f"no export format {name!r}; there is {', '.join(EXPORT_FORMATS)}")
    module, _, format_class = EXPORT_FORMATS[name].partition(".")
    made = getattr(import_module(f"{__name__}.{module}"), format_class)
    return cast("ExportFormat", made(images, embed=embed))
