"""Manifests: files and sweeps into rows, each with its job or the reason it has none."""

from __future__ import annotations

from fluxbatch.infra.compact_set import CompactMap
from fluxbatch.manifest.control_images.resolve import (
    FileHash,
    FileHashes,
    FileStamp,
    MemoryFileHashes,
)
from fluxbatch.manifest.manifest import Manifest, ManifestShape
from fluxbatch.manifest.row_builder import OnBad
from fluxbatch.manifest.sweep.cells import Cells

__all__ = [
    "Cells",
    "CompactMap",
    "FileHash",
    "FileHashes",
    "FileStamp",
    "Manifest",
    "ManifestShape",
    "MemoryFileHashes",
    "OnBad",
]
