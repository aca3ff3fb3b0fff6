"""The names that plugins of other packages may import, and that stay.

    from fluxbatch.plugins import ManifestReader, NewImage

A hook is called with a `NewImage`. An export format meets `ExportFormat`; `LineFormat` makes one of
a heading and lines. A manifest format is a `ManifestReader`. Each is defined in its own module;
what is not named here may change. Source: docs/guide/plugins.md "Plugins".
"""

from __future__ import annotations

from fluxbatch.dataset.new_image import NewImage
from fluxbatch.errors import ConfigError, ManifestError
from fluxbatch.export.columns import COLUMNS, ExportRecord, Sample
from fluxbatch.export.formats.base import ExportFormat, LineFormat, Stem
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, ExportFailed, mark_of
from fluxbatch.manifest.columns import Columns
from fluxbatch.manifest.readers.file_source import FileSource
from fluxbatch.manifest.readers.records import Record
from fluxbatch.manifest.readers.registry import ManifestReader

__all__ = [
    "COLUMNS",
    "Columns",
    "ConfigError",
    "Draft",
    "ExportFailed",
    "ExportFormat",
    "ExportRecord",
    "FileSource",
    "LineFormat",
    "ManifestError",
    "ManifestReader",
    "NewImage",
    "Record",
    "Sample",
    "SampleImages",
    "Stem",
    "mark_of",
]
