"""The export formats by name: a new one is a file here and a line in `EXPORT_FORMATS`.

Owns how a name becomes a format, ours or a plugin's (`fluxbatch.exports`). Imports a format's
module when it is asked for, so that the command line can list the names for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, cast

from fluxbatch.config.plugins import Plugin, installed_plugins
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


_NEEDED = (
    "name", "identity", "shard_size", "most", "holds_images", "needs_image", "patterns",
    "data_files", "mark", "write",
)  # fmt: skip
"""What `ExportFormat` has."""


def format_names() -> list[str]:
    """Every name there is: ours, then those of plugins."""
    return [*EXPORT_FORMATS, *(name for name in _plugins() if name not in EXPORT_FORMATS)]


def open_format(name: str, images: SampleImages, *, embed: bool) -> ExportFormat:
    """The format *name*; raises `ConfigError` for one that there is not, or a plugin's that is
    none."""
    if name in EXPORT_FORMATS:
        module, _, format_class = EXPORT_FORMATS[name].partition(".")
        ours = getattr(import_module(f"{__name__}.{module}"), format_class)
        return cast("ExportFormat", ours(images, embed=embed))
    plugin = _plugins().get(name)
    if plugin is None:
        raise ConfigError(f"no export format {name!r}; there is {', '.join(format_names())}")
    with plugin.blamed(ConfigError):
        made = plugin.load()(images, embed=embed)
    if lacking := [one for one in _NEEDED if not hasattr(made, one)]:
        raise ConfigError(
            f"the export format {name!r} of {plugin.package} has no {', '.join(lacking)}"
        )
    if made.name != name:
        raise ConfigError(
            f"the export format {name!r} of {plugin.package} calls itself {made.name!r}"
        )
    return cast("ExportFormat", made)


@contextmanager
def writing(name: str) -> Iterator[None]:
    """What a plugin's format raises in the block is told as an `ExportFailed` that names it."""
    plugin = None if name in EXPORT_FORMATS else _plugins().get(name)
    if plugin is None:
        yield
        return
    from fluxbatch.export.output_dir import ExportFailed

    with plugin.blamed(ExportFailed):
        yield


def _plugins() -> Mapping[str, Plugin]:
    return installed_plugins("exports")
